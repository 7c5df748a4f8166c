"""The fine stage of FIBER (pictures, texts and boxes), and fine-tuning what it learnt: detection, grounding, referring.

All start from a coarse run's model (`--init`) as it stands: the head `grounding` is new there, the rest is kept.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from vlfuse.checkpoints.hub import model_config
from vlfuse.data.classes import few_shot
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset, open_dataset
from vlfuse.data.scaling import PUBLISHED_LONGEST, PUBLISHED_SIDES
from vlfuse.engine.run import Boxes, Evaluation, Optim, Run, Source
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.pretrain import small_optim
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of
from vlfuse.types import ConfigError, DataError

Reads = Literal["phrases", "expressions", "regions"]
TASKS: dict[Reads, str] = {"regions": "detection", "phrases": "grounding", "expressions": "referring"}
FIELDS = {"regions": "regions", "phrases": "captions+phrases", "expressions": "expressions"}  # of scenes
LOOKED_AT = 256  # samples that tell what a data set holds
HELD_OUT = 500  # scenes of each evaluation
FLIP = 0.5  # published; a text that names sides keeps its picture as it is

# Of the head, where it is new. Base: the published one, with drop-block at its published share.
HEAD: dict[str, dict[str, Any]] = {
    "nano": {"width": 64, "blocks": 2, "levels": 3, "anchor_scale": 3.0},
    "tiny": {"width": 128, "blocks": 3, "drop_block": 0.3},
    "base": {"drop_block": 0.3},
}
FROZEN = ("system.image.patch_embed.", "system.image.stages.0.")  # published for the stage, but not for fine-tuning
WARMUP = 2000


@dataclass(frozen=True)
class Plan:
    """How a task is fine-tuned: `epochs` of the pictures in batches, but at least so many updates,
    however few the pictures.

    tuned: rates, decay and clipping as published, None for those of small models.
    """

    batch_size: int
    epochs: int
    least: int
    tuned: Optim | None = None


SMALL_STEPS, SCENES_STEPS, PUBLISHED_STEPS = 4000, 2000, 800_000
SMALL_AVERAGE, PUBLISHED_AVERAGE = 0.99, 0.999


def published(multiplier: float, decay: float, clip_norm: float | None, warmup: int = WARMUP, **stage: Any) -> Optim:
    """Groups and schedule of the fine stage: biases learn twice as fast and do not decay, image and head `multiplier`
    times as fast as the text; the rate drops twice."""
    return Optim(
        1e-5,
        (0.9, 0.999),
        weight_decay=decay,
        head_multiplier=multiplier,
        image_multiplier=multiplier,
        schedule="steps",
        warmup=warmup,
        clip_norm=clip_norm,
        doubled_biases=True,
        **stage,
    )


STAGE = published(10.0, 0.01, 1.0, decay_drops=True, frozen=FROZEN)
TUNED = published(1.0, 1e-4, None)
PUBLISHED = {
    "detection": Plan(32, 24, 1, TUNED),
    "grounding": Plan(16, 20, 1, TUNED),
    "referring": Plan(16, 20, 1, TUNED),
}
# Published for small sets of pictures (ODinW), there with up to eight copies of each and a rate that falls when the
# score does; here the rate follows the steps of the stage.
FEW = Plan(4, 200, 1000, published(10.0, 0.05, 1.0, warmup=0))
SMALL = {"detection": Plan(16, 30, 300), "grounding": Plan(16, 15, 300), "referring": Plan(16, 15, 300)}


def fiber_fine(asked: Asked, more: tuple[str, ...] = ()) -> Run:
    """Fine pre-training on pictures with boxes: phrases of captions, expressions, and classes made into prompts.

    Args:
        more: Further data sets. Of each, whatever it has is learnt from: phrases, expressions and regions.
    """
    name = asked.size_name
    batch_size = 32 if name != "base" else 64
    if asked.data:
        found: list[tuple[str, Reads]] = [(data, reads) for data in (asked.data, *more) for reads in _held(data)]
    elif name != "nano":
        raise ConfigError(f"size {name} has no data of its own; name pictures with boxes with --data")
    else:
        px = size_of(name).image_size
        found = [(_scenes(reads, px), reads) for reads in TASKS]
    sources = _sources(found, name, batch_size)
    learnt = [task for reads, task in TASKS.items() if reads in {reads for _, reads in found}]
    return Run(
        recipe="fiber-fine",
        out=asked.folder("fiber-fine"),
        steps=asked.steps or (PUBLISHED_STEPS if name == "base" else SMALL_STEPS),
        sources=sources,
        optim=STAGE if name == "base" else small_optim(size_of(name).pretrain_lr),
        evaluations=_evaluations(asked, learnt),
        heads=_head(asked),
        average=PUBLISHED_AVERAGE if name == "base" else SMALL_AVERAGE,
        **_model(asked),
    )


def boxes_of_scenes(px: int | str, batch_size: int = 32) -> tuple[Source, ...]:
    """Every kind of text with boxes that generated scenes have, for models of size nano; together about `batch_size` a step.
    px: pixels of a side, several joined by "+"."""
    return _sources([(_scenes(reads, px), reads) for reads in TASKS], "nano", batch_size)


def found_in_scenes(
    px: int | str, number: int = HELD_OUT, split: str = "test", suffix: str = ""
) -> tuple[Evaluation, ...]:
    """The tasks of the fine stage on scenes of a split, in the log as their name with `suffix`."""
    return tuple(
        Evaluation(task, scenes(number, size=px, split=split, fields=FIELDS[reads]), name=task + suffix)
        for reads, task in TASKS.items()
    )


def detection(asked: Asked, shots: int = 0) -> Run:
    """Find things of given classes: all pictures of a data set, or a few of each class.

    Args:
        shots: Learn from about so many pictures of each class (published: 1, 3, 5, 10); which ones, --seed says. 0: from all.
    """
    return _finetune(asked, "regions", shots)


def grounding(asked: Asked) -> Run:
    """Find what the phrases of captions name."""
    return _finetune(asked, "phrases")


def referring(asked: Asked) -> Run:
    """Find the one thing that an expression means."""
    return _finetune(asked, "expressions")


def _finetune(asked: Asked, reads: Reads, shots: int = 0) -> Run:
    name, task = asked.size_name, TASKS[reads]
    plan, size = (PUBLISHED if name == "base" else SMALL)[task], size_of(name)
    plan = FEW if shots and name == "base" else plan
    data, batch_size, steps = asked.data, plan.batch_size, SCENES_STEPS
    if data and (shots or not data.startswith("scenes:")):
        dataset = open_dataset(data)
        if reads not in _held(data, dataset):
            raise DataError(f"the first samples of {data} have no {reads}; {task} learns from them")
        number = len(few_shot(dataset, shots)) if shots else len(dataset)
        # Another seed takes other pictures, perhaps a few less; half of them are there in any case.
        batch_size = 1 << min(batch_size, max(1, number // 2)).bit_length() - 1 if shots else min(batch_size, number)
        steps = max(plan.least, math.ceil(number * plan.epochs / batch_size))
    elif not data:
        if name != "nano":
            raise ConfigError(f"size {name} has no data of its own; name some with --data")
        data = _scenes(reads, size.image_size)
    steps = asked.steps or steps
    tuned = plan.tuned and replace(plan.tuned, warmup=min(plan.tuned.warmup, steps // 10))
    return Run(
        recipe=task,
        out=asked.folder(task),
        steps=steps,
        sources=(_source(data, reads, batch_size, name, 0.0 if reads == "expressions" else FLIP, shots),),
        optim=tuned or small_optim(size.finetune_lr),
        evaluations=asked.evaluations(task),
        heads=_head(asked),
        **_model(asked),
    )


def _evaluations(asked: Asked, tasks: Sequence[str]) -> tuple[Evaluation, ...]:
    """On held-out data; of scenes, where all is learnt from them, also on combinations of attributes never seen."""
    if asked.eval_data or asked.data:
        return tuple(Evaluation(task, asked.eval_data) for task in tasks) if asked.eval_data else ()
    px = size_of(asked.size_name).image_size
    return found_in_scenes(px) + found_in_scenes(px, split="novel", suffix="-novel")


def _sources(found: Sequence[tuple[str, Reads]], size: str, batch_size: int) -> tuple[Source, ...]:
    """Each data set with what is read of it, in equal parts of a batch, or all of it where that is less."""
    share = max(1, batch_size // len(found))
    return tuple(_source(data, reads, min(share, len(open_dataset(data))), size, FLIP) for data, reads in found)


def _source(data: str, reads: Reads, batch_size: int, size: str, flip: float, shots: int = 0) -> Source:
    """At base size with the published lengths of the short side."""
    scales, longest = (PUBLISHED_SIDES, PUBLISHED_LONGEST) if size == "base" else ((), 0)
    boxes = Boxes(reads, shots=shots, scales=scales, longest=longest, flip=flip)
    return Source(data, {"grounding": 1.0}, batch_size, boxes=boxes)


def _scenes(reads: Reads, px: int | str) -> str:
    return scenes(size=px, seed=list(TASKS).index(reads), fields=FIELDS[reads])


def _model(asked: Asked) -> dict[str, Any]:
    """At base size pictures and texts as long as published."""
    return asked.model(PUBLISHED_SIDES[-1], 256) if asked.size_name == "base" else asked.model()


def _head(asked: Asked) -> dict[str, dict[str, Any]]:
    """Settings of a new head; one that is trained already keeps its own."""
    trained = asked.init and "grounding" in model_config(asked.init).heads
    return {} if trained else {"grounding": HEAD[asked.size_name]}


def _held(data: str, dataset: Dataset | None = None) -> list[Reads]:
    """What of `TASKS` the first usable samples of a data set hold."""
    dataset = open_dataset(data) if dataset is None else dataset
    held: set[Reads] = set()
    for index in range(min(LOOKED_AT, len(dataset))):
        with suppress(SampleError):  # the run leaves it out, too, and counts it
            sample = dataset[index]
            held.update(reads for reads in TASKS if getattr(sample, reads))
        if len(held) == len(TASKS):
            break
    if not held:
        raise DataError(f"the first samples of {data} have no {', '.join(TASKS)}; the fine stage learns from these")
    return [reads for reads in TASKS if reads in held]
