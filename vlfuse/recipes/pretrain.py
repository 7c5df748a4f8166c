"""Pre-training: the coarse stage of FIBER (masked language modelling, contrastive, matching) on pictures with captions."""

from typing import Any

from vlfuse.engine.run import Optim, Run, Source
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import Size, size_of
from vlfuse.types import ConfigError

COARSE = {"mlm": 1.0, "itc": 1.0, "itm": 1.0}  # published: summed with equal weights
SMALL_MASK = 0.3  # of a dense caption, which names places and attributes that the picture alone can tell


def small_optim(lr: float, warmup: float = 0.05) -> Optim:
    """For models from random weights: one rate for all parts, as none is pre-trained; decay and clipping against its height."""
    return Optim(lr, (0.9, 0.98), 1e-8, 0.05, 1.0, 1.0, schedule="cosine", warmup=warmup, clip_norm=1.0)


SEE = {"tagging": 0.3}  # kept up while other lessons go on
READ = {"mlm": 1.0, "pointing": 0.5}
SPOT = {"spotting": 1.0}


def first_lessons(px: int, see: int, look: int) -> tuple[Source, Source]:
    """What a model from nothing must learn before questions can teach it: until step `see`, tokens of the image name what they lie on;
    from there until step `look`, words of captions look at what they name, hidden words are read there, and tokens of the image
    spot descriptions that fit them."""
    told = scenes(size=px, captions=2, fields="captions+phrases+regions")
    return (
        Source(scenes(size=px, fields="regions"), {"tagging": 1.0}, 32, regions=6, last=see),
        Source(
            told,
            SEE | READ | SPOT,
            16,
            captions=1,
            regions=6,
            queries=4,
            mask_probability=SMALL_MASK,
            first=see,
            last=look,
        ),
    )


def on_captions(asked: Asked, size: Size, losses: dict[str, float]) -> dict[str, Any]:
    """The fields of Run that pre-training on captions shares: as published; small and on generated scenes at size nano."""
    if asked.size_name == "nano":
        data = asked.data or scenes(size=size.image_size, captions=1, fields="captions")
        source = Source(data, losses, batch_size=64, captions=1, mask_probability=SMALL_MASK)
        optim, accumulate, steps = small_optim(size.pretrain_lr), 1, 4000
    else:
        if not asked.data:
            raise ConfigError(f"size {asked.size_name} has no data of its own; name pictures with captions with --data")
        source = Source(asked.data, losses, batch_size=4096, captions=1)
        optim, accumulate, steps = Optim(size.pretrain_lr), 64, 100_000
    return {
        "steps": asked.steps or steps,
        "sources": (source,),
        "optim": optim,
        "evaluations": asked.evaluations("retrieval"),
        "accumulate": accumulate,
    }


def fiber_coarse(asked: Asked) -> Run:
    """Pre-train FIBER on pictures with captions: masked language modelling, contrastive and matching losses."""
    name = asked.size_name
    return Run(
        recipe="fiber-coarse",
        out=asked.folder("fiber-coarse"),
        heads={} if name == "nano" else {"itc": {"queue": 4096}},
        **on_captions(asked, size_of(name), COARSE),
        **asked.model(),
    )
