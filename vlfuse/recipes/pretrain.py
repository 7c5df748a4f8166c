"""Pre-training: the coarse stage of FIBER (masked language modelling, contrastive, matching) on pictures with captions."""

from vlfuse.engine.run import Optim, Run, Source
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of
from vlfuse.types import ConfigError

COARSE = {"mlm": 1.0, "itc": 1.0, "itm": 1.0}  # published: summed with equal weights
SMALL_MASK = 0.3  # of a dense caption, which names places and attributes that the picture alone can tell


def small_optim(lr: float, warmup: float = 0.05) -> Optim:
    """For models from random weights: one rate for all parts, as none is pre-trained; decay and clipping against its height."""
    return Optim(lr, (0.9, 0.98), 1e-8, 0.05, 1.0, 1.0, schedule="cosine", warmup=warmup, clip_norm=1.0)


def fiber_coarse(asked: Asked) -> Run:
    """Pre-train FIBER on pictures with captions: masked language modelling, contrastive and matching losses."""
    name = asked.size_name
    size = size_of(name)
    if name == "nano":
        data = asked.data or scenes(size=size.image_size, captions=1, fields="captions")
        source = Source(data, COARSE, batch_size=64, captions=1, mask_probability=SMALL_MASK)
        optim, accumulate, steps, heads = small_optim(size.pretrain_lr), 1, 4000, {}
    else:
        if not asked.data:
            raise ConfigError(f"size {name} has no data of its own; name pictures with captions with --data")
        source = Source(asked.data, COARSE, batch_size=4096, captions=1)
        optim, accumulate, steps = Optim(size.pretrain_lr), 64, 100_000
        heads = {"itc": {"queue": 4096}}
    return Run(
        recipe="fiber-coarse",
        out=asked.folder("fiber-coarse"),
        steps=asked.steps or steps,
        sources=(source,),
        optim=optim,
        evaluations=asked.evaluations("retrieval"),
        heads=heads,
        accumulate=accumulate,
        **asked.model(),
    )
