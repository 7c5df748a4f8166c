"""Fine-tuning for a task: questions, statements about one picture or two, entailment, captions, retrieval."""

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vlfuse.checkpoints.hub import model_config
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset, open_dataset
from vlfuse.engine.run import Optim, Run, Source
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.plans import LARGE_PATCH, PUBLISHED, SMALL, Plan
from vlfuse.recipes.pretrain import small_optim
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of
from vlfuse.tasks.captioning import Learning
from vlfuse.types import ConfigError, DataError

LOOKED_AT = 256  # samples that tell how many texts a sample has
SCENES_STEPS = 2000  # generated scenes have no epochs


CAPTION_RATES = {"mle": 5e-5, "gold": 1e-5, "cider": 1e-6}  # published, at base size
SMALL_CAPTION_RATES = {"mle": 1.0, "gold": 0.2, "cider": 0.1}  # of a small model's own rate
READS = {"vqa": "questions", "nlvr2": "statements", "nlvr": "statements", "entailment": "statements"}
SCENES = {
    "caption": {"captions": 4, "fields": "captions"},
    "vqa": {"questions": 6, "fields": "questions"},
    "nlvr2": {"paired": 1},
    "nlvr": {"fields": "statements"},
    "entailment": {"entailment": 1, "fields": "statements"},
}


def vqa(asked: Asked, answers: str = "", min_count: int = 1) -> Run:
    """Answer questions about pictures.

    Args:
        answers: A text file with one answer a line; by default the answers of the training data.
        min_count: Questions that must share an answer for it to enter the list (published for VQAv2: 9).
    """
    run = _finetune(asked, "vqa", "vqa", {"vqa": 1.0})
    given = run.heads.get("vqa", {})
    if answers:
        return replace(run, heads={"vqa": given | {"answers": read_answers(answers)}})
    return replace(run, heads={"vqa": given | {"min_count": min_count}}) if min_count > 1 else run


def nlvr2(asked: Asked) -> Run:
    """Judge statements about pairs of pictures: true or false."""
    return _finetune(asked, "nlvr2", "nlvr2", {"nlvr2": 1.0})


def nlvr(asked: Asked) -> Run:
    """Judge statements about single pictures: true or false."""
    return _finetune(asked, "nlvr", "nlvr", {"nlvr": 1.0})


def entailment(asked: Asked) -> Run:
    """Judge whether a picture entails a statement, contradicts it, or leaves it open."""
    return _finetune(asked, "entailment", "entailment", {"entailment": 1.0})


def retrieval(asked: Asked, by: Literal["itc", "itm", "both"] = "both") -> Run:
    """Find pictures by captions and captions by pictures.

    Args:
        by: itc (contrastive), itm (fused: against random pictures, or ranking of texts, as published for the system), or both
            (fused against hard negatives).
    """
    heads = {"itc": 1.0, "itm": 1.0} if by == "both" else {by: 1.0}
    run = _finetune(asked, "retrieval", "itm" if by == "itm" else "itc", heads)
    if by == "both":  # whatever the model was pre-trained with
        return replace(run, heads={"itm": {"negatives": "hard"}})
    return replace(run, heads={"itm": {"negatives": "random"}}) if by == "itm" and not run.heads else run


def caption(
    asked: Asked,
    learn: Literal["mle", "gold", "cider"] = "mle",
    frequencies: str = "",
    published_arithmetic: bool = False,
) -> Run:
    """Write captions of pictures.

    Args:
        learn: mle (people's words), then gold (likely words weigh more), then cider (drawn captions, rewarded), each from the model
            of the one before (--init).
        frequencies: For cider: a file of document frequencies; by default those of the training data.
        published_arithmetic: gold and cider as FIBER's released code computes them.
    """
    small = asked.size_name != "base"
    run = _finetune(asked, "caption", "caption", {"caption": 1.0})
    rate = run.optim.lr * SMALL_CAPTION_RATES[learn] if small else CAPTION_RATES[learn]
    settings = {"by": learn, "frequencies": frequencies, "published": published_arithmetic}
    # A checkpoint falls where gold copies its model, so that a resumed run has the same copies.
    every = Learning.refresh if learn == "gold" else run.save_every
    return replace(run, optim=replace(run.optim, lr=rate), heads={"caption": settings}, save_every=every)


def read_answers(file: str) -> list[str]:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the answers {file} cannot be read ({error}); give a text file with one answer a line"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _published(asked: Asked) -> dict[str, Plan]:
    if not asked.init:
        return PUBLISHED[size_of(asked.size_name).system]
    given = model_config(asked.init)
    large = given.system == "bridgetower" and given.config["image"]["patch"] == LARGE_PATCH
    return PUBLISHED["bridgetower-large" if large else given.system]


def _settings(asked: Asked, plan: Plan, head: str) -> dict[str, dict[str, Any]]:
    """Those of the plan; a head that is trained already keeps its size."""
    if not plan.settings:
        return {}
    settings = dict(plan.settings)
    trained = model_config(asked.init).heads.get(head, {}) if asked.init else {}
    return {head: settings | {name: trained[name] for name in ("scale",) if name in trained}}


def _finetune(asked: Asked, task: str, plan_name: str, heads: dict[str, float]) -> Run:
    small = asked.size_name in ("nano", "tiny")
    plan, size = (SMALL if small else _published(asked))[plan_name], size_of(asked.size_name)
    reads = READS.get(task, "captions")
    data, batch_size, steps = asked.data, plan.batch_size, SCENES_STEPS
    if data and not data.startswith("scenes:"):
        dataset = open_dataset(data)
        batch_size = min(batch_size, len(dataset))
        steps = _steps(_numbers(dataset, reads, data), len(dataset), batch_size, plan)
    elif not data:
        if asked.size_name != "nano":
            raise ConfigError(f"size {asked.size_name} has no data of its own; name some with --data")
        data = scenes(size=size.image_size, **SCENES.get(task, {"captions": 1, "fields": "captions"}))
    source = Source(
        data,
        heads,
        batch_size,
        captions=plan.texts if reads == "captions" else 0,
        questions=plan.texts if reads == "questions" else 0,
        statements=plan.texts if reads == "statements" else 0,
        augment=plan.augment,
    )
    optim = Optim(
        plan.lr or size.finetune_lr,
        weight_decay=plan.weight_decay,
        head_multiplier=plan.head_multiplier,
        warmup=plan.warmup,
    )
    return Run(
        recipe=task,
        out=asked.folder(task),
        steps=asked.steps or steps,
        sources=(source,),
        optim=small_optim(size.finetune_lr) if small else optim,
        evaluations=asked.evaluations(task),
        heads=_settings(asked, plan, plan_name),
        crop=False if plan.image_size else None,  # all of the picture, whatever the model was pre-trained on
        **asked.model(plan.image_size, plan.max_text),
    )


def _numbers(dataset: Dataset, reads: str, data: str) -> list[int]:
    """How many texts of a kind each of the first usable samples has."""
    numbers = []
    for index in range(min(LOOKED_AT, len(dataset))):
        with suppress(SampleError):  # the run leaves it out, too, and counts it
            numbers.append(len(getattr(dataset[index], reads)))
    if not sum(numbers):
        raise DataError(
            f"the first {len(numbers)} usable samples of {data} have no {reads}; this task learns from them"
        )
    return numbers


def _steps(numbers: list[int], samples: int, batch_size: int, plan: Plan) -> int:
    """Updates of the plan's epochs, if all samples have as many texts as those looked at."""
    texts = sum(numbers) / len(numbers) * samples
    return max(1, math.ceil(texts * plan.epochs / (batch_size * min(plan.texts, max(numbers)))))
