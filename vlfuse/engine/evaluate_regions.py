"""Detection, grounding and referring over a whole data set; with several processes no picture is counted twice.

The loader's batches are those of a `GroundingCollate` that gives all texts in order: of phrases for grounding, of
expressions for referring, of any kind for detection, which makes its own prompts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vlfuse.data.classes import coco_truth
from vlfuse.data.prompts import Prompt, class_prompts
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.distributed import World, gathered
from vlfuse.engine.step import Loader
from vlfuse.metrics.detection import coco_ap, lvis_fixed_ap
from vlfuse.metrics.grounding import PhraseResult, ReferringResult, phrase_recall, referring_accuracy
from vlfuse.objectives.grounding import Grounding
from vlfuse.systems.base import Model, texts_of
from vlfuse.tasks.regions import DETECT, GROUND, REFER, Keep, Regions, find, to_stored
from vlfuse.types import Batch, Sample, TaskError, TextState, Tokens

PAIRS = 32  # of picture and text that are fused at a time


@dataclass(frozen=True)
class Seen:
    """A picture and what was found in it: rows of detections without their picture."""

    sample: Sample
    rows: list[dict[str, Any]]


@torch.no_grad()
def detection(
    model: Model, loader: Loader, world: World, tokenizer: Tokenizer, max_text: int, names: Sequence[str]
) -> dict[str, float]:
    """COCO's twelve numbers over the classes `names`, and "count" of pictures; for data that say which labels are
    absent (LVIS) fixed AP instead. The prompts are encoded once, and every picture once for all of them."""
    prompts, head = class_prompts(names, tokenizer, max_text), _head(model)
    maps = [prompt.map(tokenizer, max_text).to(world.device) for prompt in prompts]
    texts = [model.system.encode_text(_tokens(prompt, tokenizer, max_text, world)) for prompt in prompts]
    seen: list[Seen] = []
    for batch in loader.iterate():
        batch = batch.to(world.device)
        image, count = model.system.encode_maps(batch.images), len(batch.images)
        rows: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        for prompt, label_map, text in zip(prompts, maps, texts, strict=True):
            found = find(model.system, head, image, batch.images.sizes, text[[0] * count], [label_map] * count, DETECT)
            for own, regions in zip(rows, to_stored(found, batch.images, range(count)), strict=True):
                own += _rows(regions, prompt)
        seen += [Seen(_light(sample), own) for sample, own in zip(batch.samples, rows, strict=True)]
    seen = sorted(gathered(seen, world), key=lambda one: (one.sample.id, one.sample.origin))
    truth = coco_truth([one.sample for one in seen], names)
    federated = any(one.sample.absent for one in seen)
    last = 0.0 if federated else head.pixel  # of inclusive boxes: COCO's published protocol counts it, LVIS's does not
    detections = [
        {**row, "image_id": place, "bbox": [*row["bbox"][:2], row["bbox"][2] + last, row["bbox"][3] + last]}
        for place, one in enumerate(seen, start=1)
        for row in one.rows
    ]
    if not truth["annotations"]:
        raise TaskError("there is nothing to score: the data holds no regions")
    scores = lvis_fixed_ap(truth, detections) if federated else coco_ap(truth, detections)
    return scores | {"count": float(len(seen))}


@torch.no_grad()
def grounding(model: Model, loader: Loader, world: World, tokenizer: Tokenizer, max_text: int) -> dict[str, float]:
    """{"recall@1", "recall@5", "recall@10", "upper_bound"} with any box of a phrase, "merged_recall@1" ... with the one
    around all, "recall@1_people" ... by kind where these are known, and "count" of phrases."""
    results = []
    for batch, row, prompt, regions in _about_texts(model, loader, world, tokenizer, max_text, GROUND):
        phrases = batch.samples[row].phrases
        for label, number in enumerate(prompt.things):
            own = regions.boxes[regions.labels == label].tolist()
            results.append(PhraseResult(own, phrases[number].boxes, phrases[number].kinds))
    results = gathered(results, world)
    if not results:
        raise TaskError("there is nothing to score: the data holds no phrases")
    scores = {"count": float(len(results))}
    for recalls, prefix in ((phrase_recall(results), ""), (phrase_recall(results, "merged"), "merged_")):
        for name, kinds in recalls.items():
            scores |= {prefix + name + ("" if kind == "all" else f"_{kind}"): value for kind, value in kinds.items()}
    return scores


@torch.no_grad()
def referring(model: Model, loader: Loader, world: World, tokenizer: Tokenizer, max_text: int) -> dict[str, float]:
    """{"P@1": accuracy by IoU, "P@5", "P@10", "giou_P@1" ... by the published GIoU variant, "count" of expressions}."""
    results = []
    for batch, row, prompt, regions in _about_texts(model, loader, world, tokenizer, max_text, REFER):
        truth = batch.samples[row].expressions[prompt.things[0]].box
        results.append(ReferringResult(regions.boxes.tolist(), regions.scores.tolist(), truth))
    results = gathered(results, world)
    if not results:
        raise TaskError("there is nothing to score: the data holds no expressions")
    published = {f"giou_{name}": value for name, value in referring_accuracy(results, "giou").items()}
    return referring_accuracy(results) | published | {"count": float(len(results))}


def _about_texts(
    model: Model, loader: Loader, world: World, tokenizer: Tokenizer, max_text: int, keep: Keep
) -> Iterator[tuple[Batch, int, Prompt, Regions]]:
    """Every text of every batch: (batch, row of its picture, its prompt, boxes in pixels of the stored picture). The
    picture is encoded once for all its texts."""
    for batch in loader.iterate():
        if batch.grounding is None:
            continue
        batch = batch.to(world.device)
        image, texts = model.system.encode_maps(batch.images), texts_of(batch, "grounding")
        state: TextState = model.system.encode_text(texts.tokens)
        for rows in torch.arange(len(texts.owner)).split(PAIRS):
            owner = texts.owner[rows]
            maps = [texts.records[row].map(tokenizer, max_text).to(world.device) for row in rows.tolist()]
            found = find(model.system, _head(model), image[owner], batch.images.sizes[owner], state[rows], maps, keep)
            for row, regions in zip(rows.tolist(), to_stored(found, batch.images, owner.tolist()), strict=True):
                yield batch, int(texts.owner[row]), texts.records[row], regions


def _rows(regions: Regions, prompt: Prompt) -> Iterator[dict[str, Any]]:
    columns: tuple[Tensor, ...] = (regions.boxes, regions.scores, regions.labels)
    for (x0, y0, x1, y1), score, label in zip(*(column.tolist() for column in columns), strict=True):
        yield {"category_id": prompt.things[label] + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}


def _tokens(prompt: Prompt, tokenizer: Tokenizer, max_text: int, world: World) -> Tokens:
    return tokenizer.encode([prompt.text], max_text).to(world.device)


def _head(model: Model) -> Grounding:
    return model.head("grounding")  # type: ignore[return-value]


def _light(sample: Sample) -> Sample:
    """What a score needs of it: little to send between processes."""
    return replace(sample, captions=(), phrases=(), expressions=(), questions=(), statements=())
