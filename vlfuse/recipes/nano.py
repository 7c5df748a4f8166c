"""The recipes of the model that comes with the package: the coarse stage from nothing; every task, boxes and captions included; and more
of what takes longest. All learn from generated scenes."""

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
        evaluations=every_task(px, every=1500),
        heads={"vqa": {"single": True}, "grounding": HEAD["nano"]},
        average=SMALL_AVERAGE,
        save_every=200,
        log_every=25,
        release="float16",
        init=init,
    )


TRAY = 100  # pixels: the height of a picture of trays as it is drawn
TRAY_SIZE = 128  # it is shown with as many pixels as a square of this side has
TO_JUDGE, TO_REWARD = 600, 800
LAST_LR = 3e-4


def fiber_nano_more(
    out: str = "runs/fiber-nano-more", steps: int = 1800, init: str = "runs/fiber-nano-fine/model"
) -> Run:
    """Go on from `fiber-nano-fine` with what takes longest to learn: which phrase of a long caption means which thing, captions for
    their reward, questions that compare; and with pictures of another kind, trays. All else is kept up.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: What `vlfuse train fiber-nano-fine` made.
    """
    size = size_of("nano")
    px = size.image_size
    known = lessons(px)
    spotted = replace(known["trays"], heads={"nlvr": 1.0, "spotting": 1.0}, queries=2, last=TO_JUDGE)
    turns = {
        "trays": (1, TO_JUDGE), "phrases": (2, 0), "regions": (12, 1), "expressions": (12, 7), "compared": (4, 1), "asked": (8, 3),
        "captions": (8, TO_REWARD + 7), "single": (16, 5), "pairs": (16, 9), "entailment": (16, 11), "search": (16, 13),
    }  # fmt: skip
    test_trays = scenes(HELD_OUT, size=TRAY, split="test", trays=1, fields="statements")
    return Run(
        recipe="fiber-nano-more",
        out=out,
        steps=steps,
        sources=(spotted, *(replace(known[name], every=every, first=first) for name, (every, first) in turns.items())),
        optim=replace(small_optim(size.finetune_lr, warmup=100), head_multiplier=2.0),
        evaluations=(
            *every_task(px),
            Evaluation("nlvr", test_trays, every=600, image_size=TRAY_SIZE, name="nlvr-trays"),
        ),
        heads={"vqa": {"single": True}, "caption": {"by": "cider"}},
        keep_aspect=True,
        average=SMALL_AVERAGE,
        save_every=100,
        log_every=25,
        release="float16",
        init=init,
    )


def fiber_nano_last(
    out: str = "runs/fiber-nano-last", steps: int = 2200, init: str = "runs/fiber-nano-more/model"
) -> Run:
    """Last, at a lower rate, captions for their reward, questions and boxes most often, all else in turns; and scenes drawn at any size,
    as a user's may be, which look unlike those drawn at the model's own once they are brought to it.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: What `vlfuse train fiber-nano-more` made.
    """
    px = size_of("nano").image_size
    run, known = fiber_nano_more(out, steps, init), lessons(drawn(px))
    turns = {
        "captions": (2, 0), "asked": (2, 1), "regions": (4, 0), "phrases": (4, 2), "compared": (4, 1), "trays": (8, 3),
        "expressions": (16, 7), "single": (16, 5), "pairs": (16, 9), "entailment": (16, 13), "search": (16, 15),
    }  # fmt: skip
    others = drawn(px, own=False)
    asked = scenes(HELD_OUT, size=others, split="test", fields="questions")
    return replace(
        run,
        recipe="fiber-nano-last",
        sources=tuple(replace(known[name], every=every, first=first) for name, (every, first) in turns.items()),
        optim=replace(run.optim, lr=LAST_LR),
        evaluations=(
            *run.evaluations,
            Evaluation("vqa", asked, name="vqa-resized"),
            *found_in_scenes(others, suffix="-resized"),
        ),
        seed=1,  # other scenes than those of the run before
    )


def drawn(px: int, own: bool = True) -> str:
    """Sides of scenes for a model that takes `px` pixels: half of them its own, unless `own` is False."""
    others = [3 * px // 2, 2 * px, 3 * px]
    return "+".join(str(side) for side in [px] * len(others) * own + others)


def lessons(side: int | str) -> dict[str, Source]:
    """What the last two recipes teach, each lesson at every step. side: of the scenes in pixels, several joined by "+"."""
    regions, phrases, expressions = (
        replace(source, heads={"grounding": BOX_SHARE}) for source in boxes_of_scenes(side, 3 * 32)
    )
    phrases = replace(phrases, data=scenes(size=side, seed=29, fields="captions+phrases"))
    compared = scenes(size=side, seed=22, questions=6, fields="questions", kinds="comparison")
    asked = scenes(size=side, seed=21, questions=5, fields="questions")
    rewarded = scenes(size=side, seed=27, captions=5, fields="captions")
    paired, single = scenes(size=side, seed=23, paired=1), scenes(size=side, seed=24, fields="statements")
    judged = scenes(size=side, seed=25, entailment=1, fields="statements")
    told = scenes(size=side, seed=26, captions=1, fields="captions")
    trays = scenes(size=TRAY, seed=28, trays=1, parts="either", fields="statements+regions")
    return {
        "trays": Source(trays, {"nlvr": 1.0}, 24, statements=2, image_size=TRAY_SIZE),
        "phrases": phrases,
        "regions": regions,
        "expressions": expressions,
        "compared": Source(compared, {"vqa": 1.0}, 20, questions=6),
        "asked": Source(asked, {"vqa": 1.0}, 20, questions=5),
        "captions": Source(rewarded, {"caption": 1.0}, 32, captions=1),
        "single": Source(single, {"nlvr": 1.0}, 16, statements=2),
        "pairs": Source(paired, {"nlvr2": 1.0}, 16, statements=2),
        "entailment": Source(judged, {"entailment": 1.0}, 16, statements=2),
        "search": Source(told, {"itc": 1.0, "itm": 1.0}, 32, captions=1),
    }


def every_task(px: int, every: int = 0) -> tuple[Evaluation, ...]:
    """Those of the coarse stage, captions and boxes; boxes also on combinations that training never shows."""
    return (
        *held_out(px, every),
        Evaluation("caption", scenes(200, size=px, split="test", captions=5, fields="captions")),
        *found_in_scenes(px),
        *found_in_scenes(px, split="novel", suffix="-novel"),
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
