"""The recipe of the model that comes with the package: everything the coarse stage can do, learnt from generated scenes."""

from dataclasses import replace
from typing import Any

from vlfuse.engine.run import Evaluation, Run, Source
from vlfuse.recipes.asked import fresh
from vlfuse.recipes.pretrain import SMALL_MASK, small_optim
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of

HELD_OUT = 500  # scenes of each evaluation


def fiber_nano(out: str = "runs/fiber-nano", steps: int = 4500, init: str = "") -> Run:
    """Train the shipped model `fiber-nano` on generated scenes: captions, questions, pairs and entailment at once.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: A model to go on from; without it a fresh one.
    """
    size = size_of("nano")
    px = size.image_size
    start: dict[str, Any] = {"init": init} if init else fresh(size)
    return Run(
        recipe="fiber-nano",
        out=out,
        steps=steps,
        sources=(
            # Tags and dense captions teach to see, questions to reason: all every time, on one image trunk. The rest takes turns.
            Source(
                scenes(size=px, captions=1, questions=4, fields="captions+questions+regions"),
                {"tagging": 1.0, "mlm": 1.0, "vqa": 1.0},
                batch_size=16,
                captions=1,
                questions=4,
                regions=6,
                mask_probability=SMALL_MASK,
            ),
            Source(scenes(size=px, seed=1, captions=2, fields="captions"), {"itc": 1.0, "itm": 1.0}, 32, captions=1, every=8),
            Source(scenes(size=px, seed=2, paired=1), {"nlvr2": 1.0}, 8, statements=2, every=2),
            Source(scenes(size=px, seed=3, fields="statements"), {"nlvr": 1.0}, 8, statements=2, every=4),
            Source(scenes(size=px, seed=4, entailment=1, fields="statements"), {"entailment": 1.0}, 8, statements=2, every=4),
        ),
        optim=replace(small_optim(size.pretrain_lr), image_multiplier=4.0),
        evaluations=held_out(px, every=1000),
        save_every=250,
        log_every=25,
        release="float16",
        **start,
    )  # fmt: skip


def held_out(px: int, every: int = 0, split: str = "test", number: int = HELD_OUT) -> tuple[Evaluation, ...]:
    """Every task on scenes of a split that training never shows."""
    return (
        Evaluation("vqa", scenes(number, size=px, split=split, fields="questions"), every),
        Evaluation("nlvr2", scenes(number, size=px, split=split, paired=1), every),
        Evaluation("nlvr", scenes(number, size=px, split=split, fields="statements"), every),
        Evaluation("entailment", scenes(number, size=px, split=split, entailment=1, fields="statements"), every),
        Evaluation("retrieval", scenes(number, size=px, split=split, captions=1, fields="captions")),
    )
