"""The recipe of the model that comes with the package: everything the coarse stage can do, learnt from generated scenes."""

from typing import Any

from vlfuse.engine.run import Evaluation, Run, Source
from vlfuse.recipes.asked import fresh
from vlfuse.recipes.pretrain import SMALL_MASK, small_optim
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of

HELD_OUT = 500  # scenes of each evaluation


SEE, LOOK, ASK, REASON = 800, 1100, 2000, 3000  # the steps at which a lesson ends and the next begins


def fiber_nano(out: str = "runs/fiber-nano", steps: int = 7000, init: str = "") -> Run:
    """Train the shipped model `fiber-nano` on generated scenes: captions, questions, pairs and entailment.

    From nothing, questions alone teach neither to see nor to look. So the lessons come in order: tokens of the image learn to name
    what they lie on; words of captions learn to look at what they name, and hidden words to be read there; then come questions, then
    statements. What was learnt is kept up at a lower pace.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: A model to go on from; without it a fresh one.
    """
    size = size_of("nano")
    px = size.image_size
    start: dict[str, Any] = {"init": init} if init else fresh(size)
    told = scenes(size=px, captions=2, fields="captions+phrases+regions")
    asked = scenes(size=px, seed=1, questions=5, fields="questions+regions")
    paired, single = scenes(size=px, seed=2, paired=1), scenes(size=px, seed=3, fields="statements")
    judged = scenes(size=px, seed=4, entailment=1, fields="statements")
    searched = scenes(size=px, seed=5, captions=1, fields="captions")
    see = {"tagging": 0.3}
    look = {"mlm": 1.0, "pointing": 0.5}
    mask = SMALL_MASK
    return Run(
        recipe="fiber-nano",
        out=out,
        steps=steps,
        sources=(
            Source(scenes(size=px, fields="regions"), {"tagging": 1.0}, 32, regions=6, last=SEE),
            Source(told, see | look, 16, captions=1, regions=6, mask_probability=mask, first=SEE, last=REASON),
            Source(told, look, 16, captions=1, mask_probability=mask, every=4, first=REASON),
            Source(asked, see | {"vqa": 1.0}, 16, questions=5, regions=6, first=LOOK),
            Source(paired, {"nlvr2": 1.0}, 8, statements=2, every=2, first=ASK),
            Source(searched, {"itc": 1.0, "itm": 1.0}, 32, captions=1, every=8, first=ASK),
            Source(single, {"nlvr": 1.0}, 8, statements=2, every=4, first=REASON),
            Source(judged, {"entailment": 1.0}, 8, statements=2, every=4, first=REASON),
        ),
        optim=small_optim(size.pretrain_lr, warmup=100),
        evaluations=held_out(px, every=1500),
        save_every=250,
        log_every=25,
        release="float16",
        heads={"vqa": {"single": True}},
        **start,
    )


def held_out(px: int, every: int = 0, split: str = "test", number: int = HELD_OUT) -> tuple[Evaluation, ...]:
    """Every task on scenes of a split that training never shows."""
    return (
        Evaluation("vqa", scenes(number, size=px, split=split, fields="questions"), every),
        Evaluation("nlvr2", scenes(number, size=px, split=split, paired=1), every),
        Evaluation("nlvr", scenes(number, size=px, split=split, fields="statements"), every),
        Evaluation("entailment", scenes(number, size=px, split=split, entailment=1, fields="statements"), every),
        Evaluation("retrieval", scenes(number, size=px, split=split, captions=1, fields="captions")),
    )
