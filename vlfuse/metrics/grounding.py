"""Phrases and referring expressions: is the right box among the first k?

Boxes are [x0, y0, x1, y1]; areas are plain products, without one pixel added. Every count is over rows that stand
alone, so rows gathered from several processes give the same numbers in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

KS = (1, 5, 10)
THRESHOLD = 0.5

Overlap = Literal["iou", "giou"]


def pairwise_overlap(first: np.ndarray, second: np.ndarray, kind: Overlap = "iou") -> np.ndarray:
    """[n, 4] and [m, 4] -> [n, m] IoU, or generalised IoU (Rezatofighi et al. 2019);
    pairs without any area overlap by 0."""
    first, second = _boxes(first)[:, None], _boxes(second)[None]
    inner = _area(np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - inner
    iou = np.divide(inner, union, out=np.zeros_like(union), where=union > 0)
    if kind == "iou":
        return iou
    hull = _area(np.minimum(first[..., :2], second[..., :2]), np.maximum(first[..., 2:], second[..., 2:]))
    return iou - np.divide(hull - union, hull, out=np.zeros_like(hull), where=hull > 0)


@dataclass(frozen=True)
class PhraseResult:
    """A phrase with the boxes found for it, best first, and those it names (an empty list: the phrase is not asked).

    kinds: people, clothing, bodyparts, animals, vehicles, instruments, scene, other; a phrase counts in each of its
    own, as often as it is marked with it.
    """

    found: Sequence[Sequence[float]]
    truth: Sequence[Sequence[float]]
    kinds: Sequence[str] = ()


def phrase_recall(
    phrases: Sequence[PhraseResult], protocol: Literal["any", "merged"] = "any", ks: Sequence[int] = KS
) -> dict[str, dict[str, float]]:
    """{"recall@1": {"all": share in [0, 1], "people": ...}, ..., "upper_bound": ...} (Flickr30k Entities,
    Plummer et al. 2015).

    A hit at k: one of the first k boxes overlaps a true one by IoU 0.5 or more; upper_bound: one of all boxes.
    protocol: "any" box of the phrase will do (the usual one, also FIBER's),
    or all its boxes are "merged" to the one around them.
    """
    hits: dict[str, dict[str, list[bool]]] = {name: {} for name in (*(f"recall@{k}" for k in ks), "upper_bound")}
    for phrase in phrases:
        truth = _boxes(phrase.truth)
        if not len(truth):
            continue
        if protocol == "merged":
            truth = np.concatenate([truth[:, :2].min(0), truth[:, 2:].max(0)])[None]
        right: np.ndarray = np.any(pairwise_overlap(_boxes(phrase.found), truth) >= THRESHOLD, axis=1)
        for name, k in zip(hits, (*ks, len(right)), strict=True):
            for kind in ("all", *phrase.kinds):
                hits[name].setdefault(kind, []).append(bool(right[:k].any()))
    if not hits["upper_bound"]:
        raise ValueError("no phrase has a box to be found; give the phrases of sentences with boxes")
    return {name: {kind: sum(of) / len(of) for kind, of in kinds.items()} for name, kinds in hits.items()}


@dataclass(frozen=True)
class ReferringResult:
    """The boxes found for an expression with their scores, in any order, and the one it means."""

    boxes: Sequence[Sequence[float]]
    scores: Sequence[float]
    truth: Sequence[float]


def referring_accuracy(
    results: Sequence[ReferringResult], overlap: Overlap = "iou", ks: Sequence[int] = KS
) -> dict[str, float]:
    """{"P@1": share in [0, 1] of expressions whose best box overlaps the true one by 0.5 or more, "P@5", "P@10":
    any of so many}.

    overlap: "iou", as the literature defines it; "giou", which the evaluation published with MDETR and FIBER compares
    with 0.5: it is stricter. An expression for which nothing was found is a miss.
    """
    if not results:
        raise ValueError("an accuracy needs at least one expression")
    hits = {f"P@{k}": 0 for k in ks}
    for result in results:
        order = np.argsort(-np.asarray(result.scores, dtype=np.float64), kind="stable")
        right = pairwise_overlap(_boxes(result.boxes)[order], _boxes([result.truth]), overlap)[:, 0] >= THRESHOLD
        for k in ks:
            hits[f"P@{k}"] += bool(right[:k].any())
    return {name: count / len(results) for name, count in hits.items()}


def _boxes(boxes: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.clip(high - low, 0, None).prod(-1)
