"""Average precision of boxes by the rules of COCO (Lin et al. 2014) and LVIS (Gupta et al. 2019),
on `faster-coco-eval`.

Ground truth is a dict in COCO's own format: `images` (id), `annotations` (id from 1, image_id, category_id, bbox [x, y,
width, height], area, iscrowd) and `categories` (id, name). Detections are rows {image_id, category_id, bbox, score}, in
any order of images: rows gathered from several processes, in whatever order, give the same numbers to the last bit, as
long as those of one image keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

AREAS = {"s": "small", "m": "medium", "l": "large"}
COCO_LIMITS = (1, 10, 100)  # detections of an image and category that recall may use
LVIS_PER_IMAGE = 300
LVIS_PER_CLASS = 10_000  # fixed AP (Dave et al. 2021): the best of each category over the whole data set
BLOCK = 40  # categories evaluated at a time
FREQUENCIES = ("r", "c", "f")  # rare, common, frequent


def coco_ap(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], class_agnostic: bool = False
) -> dict[str, float]:
    """COCO's twelve numbers in [0, 1]: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl;
    -1 where nothing is asked.

    class_agnostic: all categories as one. Raises ValueError for rows that cannot be scored.
    """
    return _twelve(_evaluate(truth, detections, COCO_LIMITS, categories=not class_agnostic))


def coco_ap_per_class(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
) -> dict[int | str, dict[str, float]]:
    """{category id: {AP, AP50, AP75, APs, APm, APl, AR100}}; -1 for a category without objects."""
    curves = _evaluate(truth, detections, COCO_LIMITS)
    return {
        category: {**_precisions(curves, column), "AR100": _mean(curves.recall[:, column, 0, -1])}
        for column, category in enumerate(curves.categories)
    }


def precision_curve(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], category: int) -> np.ndarray:
    """[101] precision of a category at recall 0, 0.01 ... 1, at IoU 0.5."""
    curves = _evaluate(truth, detections, COCO_LIMITS)
    return curves.precision[0, :, curves.categories.index(category), 0, -1]


def lvis_ap(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], per_image: int = LVIS_PER_IMAGE
) -> dict[str, float]:
    """LVIS's own numbers: AP, AP50, AP75, APs, APm, APl, APr, APc, APf, and AR, ARs, ARm, ARl, at `per_image` best
    detections of an image over all categories.

    Federated: images also hold `neg_category_ids` and `not_exhaustive_category_ids`, categories a `frequency`. A
    detection counts only where its category is annotated or known to be absent;
    unmatched ones of not exhaustive categories do not.
    """
    by_image: dict[Any, list[Mapping[str, Any]]] = {}
    for row in detections:
        by_image.setdefault(row["image_id"], []).append(row)
    best = [row for rows in by_image.values() for row in _best(rows, per_image)]
    curves = _evaluate(truth, best, (max(len(best), 1),), federated=True)
    found = {"AR": _mean(curves.recall[:, :, 0, -1])}
    for area, letter in enumerate(AREAS, start=1):
        found[f"AR{letter}"] = _mean(curves.recall[:, :, area, -1])
    return _lvis(curves, truth) | found


def lvis_fixed_ap(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], per_class: int = LVIS_PER_CLASS
) -> dict[str, float]:
    """LVIS AP without a limit for images: of each category the `per_class` best detections of the whole data set count.

    Published zero-shot results are of this kind. The same keys as `lvis_ap` but for recalls, and `kept_detections`.
    """
    order = {image: place for place, image in enumerate(sorted(image["id"] for image in truth["images"]))}
    by_class: dict[Any, list[Mapping[str, Any]]] = {}
    for row in sorted(detections, key=lambda row: order.get(row["image_id"], -1)):  # equal scores: by image, as given
        by_class.setdefault(row["category_id"], []).append(row)
    best = [row for rows in by_class.values() for row in _best(rows, per_class)]
    found = _lvis(_evaluate(truth, best, (max(len(best), 1),), federated=True), truth)
    return found | {"kept_detections": float(len(best))}


def average_ap(by_set: Mapping[str, float]) -> dict[str, float]:
    """{"average", "median", "sets"} of the AP on several data sets, as ODinW reports its 13 or 35 (Li et al. 2022).

    Raises ValueError where there are no sets, or one has no AP: an average over fewer sets would be another number.
    """
    missing = [name for name, value in by_set.items() if not 0 <= value <= 1]
    if not by_set or missing:
        raise ValueError(
            f"an average needs an AP in [0, 1] of every set; without: {', '.join(missing) or 'there are no sets'}"
        )
    values = list(by_set.values())
    return {"average": fmean(values), "median": float(np.median(values)), "sets": float(len(values))}


def _best(rows: list[Mapping[str, Any]], number: int) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: -row["score"])[:number]


@dataclass(frozen=True)
class _Curves:
    """precision [thresholds, recalls, categories, areas, limits], recall [thresholds, categories, areas, limits]; -1
    where nothing is asked. categories: their ids."""

    precision: np.ndarray
    recall: np.ndarray
    categories: list[Any]


def _evaluate(
    truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    limits: Sequence[int],
    categories: bool = True,
    federated: bool = False,
) -> _Curves:
    truth = _own_copy(truth)
    images = {image["id"] for image in truth["images"]}
    ids = sorted(category["id"] for category in truth["categories"])
    if not images or not ids:
        raise ValueError(
            f"the ground truth lists {len(images)} images and {len(ids)} categories; it needs some of both"
        )
    rows = [_detection(row, number, images, set(ids)) for number, row in enumerate(detections, start=1)]
    step = BLOCK if categories else len(ids)
    blocks = [
        _block(truth, rows, ids[at : at + step], limits, categories, federated) for at in range(0, len(ids), step)
    ]
    precision, recall = (np.concatenate(parts, axis=-3) for parts in zip(*blocks, strict=True))
    return _Curves(precision, recall, ids)


def _block(
    truth: dict[str, Any],
    detections: list[dict[str, Any]],
    ids: list[Any],
    limits: Sequence[int],
    categories: bool,
    federated: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of some categories. What the library holds grows with images times categories: a block of
    these needs only the images in which they are found or annotated."""
    asked = set(ids)
    own = [row for row in truth["annotations"] if row["category_id"] in asked]
    found = [dict(row) for row in detections if row["category_id"] in asked]
    seen = {row["image_id"] for row in (*own, *found)}
    part = {
        "images": [image for image in truth["images"] if image["id"] in seen] or truth["images"][:1],
        "categories": [category for category in truth["categories"] if category["id"] in asked],
    }
    gt, dt = COCO({**part, "annotations": own}), COCO({**part, "annotations": found})
    evaluation = COCOeval_faster(gt, dt, "bbox", lvis_style=federated, print_function=_silent)
    evaluation.params.maxDets = list(limits)
    evaluation.params.useCats = int(categories)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _own_copy(truth: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation writes into its records. Annotations get ids from 1: it takes the id 0 for 'not matched'. It also
    wants a frequency of every category; means over frequencies are made here, from those that are given."""
    annotations = [
        {"iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row, "id": number}
        for number, row in enumerate(truth["annotations"], start=1)
    ]
    return {
        "images": [dict(image) for image in truth["images"]],
        "annotations": annotations,
        "categories": [{"frequency": FREQUENCIES[-1], **category} for category in truth["categories"]],
    }


def _detection(row: Mapping[str, Any], number: int, images: set[Any], categories: set[Any]) -> dict[str, Any]:
    for key, known in (("image_id", images), ("category_id", categories)):
        if row[key] not in known:
            raise ValueError(f"detection {number} has {key} {row[key]!r}, which the ground truth does not list")
    if not all(math.isfinite(value) for value in (*row["bbox"], row["score"])):
        raise ValueError(f"detection {number} of image {row['image_id']!r} is not a finite box and score: {dict(row)}")
    bbox = [float(value) for value in row["bbox"]]
    own = {"id": number, "bbox": bbox, "score": float(row["score"]), "area": bbox[2] * bbox[3], "iscrowd": 0}
    return {"image_id": row["image_id"], "category_id": row["category_id"], **own}


def _twelve(curves: _Curves) -> dict[str, float]:
    found = _precisions(curves, slice(None))
    for place, limit in enumerate(COCO_LIMITS):
        found[f"AR{limit}"] = _mean(curves.recall[:, :, 0, place])
    for area, letter in enumerate(AREAS, start=1):
        found[f"AR{letter}"] = _mean(curves.recall[:, :, area, -1])
    return found


def _lvis(curves: _Curves, truth: Mapping[str, Any]) -> dict[str, float]:
    found = _precisions(curves, slice(None))
    frequency = {category["id"]: category.get("frequency", "") for category in truth["categories"]}
    for letter in FREQUENCIES:
        columns = [i for i, category in enumerate(curves.categories) if frequency[category] == letter]
        found[f"AP{letter}"] = _mean(curves.precision[:, :, columns, 0, -1])
    return found


def _precisions(curves: _Curves, columns: slice | int) -> dict[str, float]:
    """Means over what is asked for, at the largest limit."""
    precision = curves.precision[:, :, columns, :, -1]
    found = {"AP": _mean(precision[..., 0])}
    for row, name in ((0, "AP50"), (5, "AP75")):  # thresholds 0.5, 0.55 ... 0.95
        found[name] = _mean(precision[row, ..., 0])
    for area, letter in enumerate(AREAS, start=1):
        found[f"AP{letter}"] = _mean(precision[..., area])
    return found


def _mean(values: np.ndarray) -> float:
    """Over what is asked for: categories without objects are -1."""
    asked = values[values > -1]
    return float(asked.mean()) if asked.size else -1.0


def _silent(*_: Any) -> None:
    """The library's own reports go nowhere."""
