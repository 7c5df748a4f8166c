"""The two recipes of the model that comes with the package: the coarse stage from nothing, then every task, boxes and captions
included, all learnt from generated scenes."""

from dataclasses import replace
from typing import Any

from vlfuse.engine.run import Evaluation, Run, Source
from vlfuse.recipes.asked import fresh
from vlfuse.recipes.fine import HEAD, SMALL_AVERAGE, boxes_of_scenes, found_in_scenes
from vlfuse.recipes.pretrain import READ, SEE, SMALL_MASK, SPOT, first_lessons, small_optim
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of

HELD_OUT = 500  # scenes of each evaluation


TO_LOOK, TO_ASK, TO_PAIR, TO_REASON = 800, 1300, 2000, 3000  # the steps at which lessons begin


def fiber_nano(out: str = "runs/fiber-nano", steps: int = 5200, init: str = "") -> Run:
    """Train the shipped model `fiber-nano` on generated scenes: captions, questions, pairs and entailment.

    From nothing, questions alone teach neither to see nor to look. So the lessons come in order: tokens of the image learn to name
    what they lie on; words of captions learn to look at what they name, and tokens of the image to spot what a text describes; then
    come questions, then statements. What was learnt is kept up at a lower pace.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: A model to go on from; without it a fresh one.
    """
    size = size_of("nano")
    px = size.image_size
    start: dict[str, Any] = {"init": init} if init else fresh(size)
    told = scenes(size=px, captions=2, fields="captions+phrases")
    asked = scenes(size=px, seed=1, questions=6, fields="questions+regions")
    paired, single = scenes(size=px, seed=2, paired=1), scenes(size=px, seed=3, fields="statements")
    judged = scenes(size=px, seed=4, entailment=1, fields="statements")
    searched = scenes(size=px, seed=5, captions=1, fields="captions")
    return Run(
        recipe="fiber-nano",
        out=out,
        steps=steps,
        sources=(
            *first_lessons(px, TO_LOOK, TO_ASK),
            Source(told, READ, 16, captions=1, mask_probability=SMALL_MASK, every=3, first=TO_ASK),
            Source(
                asked, SEE | SPOT | {"vqa": 1.0}, 16, questions=5, regions=6, queries=2, first=TO_ASK, last=TO_REASON
            ),
            Source(asked, SEE | {"vqa": 1.0}, 16, questions=6, regions=6, first=TO_REASON),
            Source(paired, {"nlvr2": 1.0}, 8, statements=2, every=2, first=TO_PAIR),
            Source(searched, {"itc": 1.0, "itm": 1.0}, 32, captions=1, every=8, first=TO_PAIR),
            Source(single, {"nlvr": 1.0}, 8, statements=2, every=4, first=TO_REASON),
            Source(judged, {"entailment": 1.0}, 8, statements=2, every=4, first=TO_REASON),
        ),
        optim=small_optim(size.pretrain_lr, warmup=100),
        evaluations=held_out(px, every=1500),
        save_every=250,
        log_every=25,
        release="float16",
        heads={"vqa": {"single": True}},
        **start,
    )


BOX_SHARE = 0.5  # of the loss of texts with boxes, which would drown the others


def fiber_nano_fine(out: str = "runs/fiber-nano-fine", steps: int = 3000, init: str = "runs/fiber-nano/model") -> Run:
    """Go on from `fiber-nano` with every task: boxes and captions are new, questions that compare come more often. Tasks take turns,
    as few large batches are faster than many small ones.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: What `vlfuse train fiber-nano` made.
    """
    size = size_of("nano")
    px = size.image_size
    asked = scenes(size=px, seed=11, questions=5, fields="questions")
    compared = scenes(size=px, seed=12, questions=6, fields="questions", kinds="comparison+relation")
    paired, single = scenes(size=px, seed=13, paired=1), scenes(size=px, seed=14, fields="statements")
    judged = scenes(size=px, seed=15, entailment=1, fields="statements")
    told = scenes(size=px, seed=16, captions=1, fields="captions")
    boxes = [
        replace(source, heads={"grounding": BOX_SHARE}, every=3, first=turn)
        for turn, source in enumerate(boxes_of_scenes(px, 3 * 24))
    ]
    return Run(
        recipe="fiber-nano-fine",
        out=out,
        steps=steps,
        sources=(
            *boxes,
            Source(compared, {"vqa": 1.0}, 20, questions=6, every=2),
            Source(asked, {"vqa": 1.0}, 20, questions=5, every=4, first=1),
            Source(told, {"caption": 1.0}, 32, captions=1, every=4, first=3),
            Source(single, {"nlvr": 1.0}, 16, statements=2, every=8, first=1),
            Source(paired, {"nlvr2": 1.0}, 16, statements=2, every=8, first=3),
            Source(judged, {"entailment": 1.0}, 16, statements=2, every=8, first=5),
            Source(told, {"itc": 1.0, "itm": 1.0}, 32, captions=1, every=8, first=7),
        ),
        optim=replace(small_optim(size.finetune_lr, warmup=100), head_multiplier=2.0),
        evaluations=(
            *held_out(px, every=1500),
            Evaluation("caption", scenes(200, size=px, split="test", captions=5, fields="captions")),
            *found_in_scenes(px),
            *found_in_scenes(px, split="novel", suffix="-novel"),
        ),
        heads={"vqa": {"single": True}, "grounding": HEAD["nano"]},
        average=SMALL_AVERAGE,
        save_every=200,
        log_every=25,
        release="float16",
        init=init,
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
