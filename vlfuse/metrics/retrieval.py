"""Recall at k of images and captions, any number of captions an image.

Shapes: B images, N captions.
"""

from collections.abc import Mapping, Sequence
from math import comb

import torch
from torch import Tensor

KS = (1, 5, 10)


def caption_ranks(scores: Tensor, owner: Tensor) -> Tensor:
    """For each image that has captions, the rank (from 1) of its best own caption among all captions:
    [images asked] int64.

    scores [B, N]; owner [N] int64, the image of each caption. Another image's caption with an equal score ranks before,
    and so does one whose score is not a number: a model that scores all alike finds nothing.
    """
    _check(scores, owner)
    own = owner[None, :] == torch.arange(len(scores), device=owner.device)[:, None]
    best = scores.masked_fill(~own, float("-inf")).amax(1, keepdim=True)
    ahead = ~(scores < best) & ~own
    return (1 + ahead.sum(1))[own.any(1)]


def image_ranks(scores: Tensor, owner: Tensor) -> Tensor:
    """For each caption, the rank (from 1) of its image among all images: [N] int64. Ties as in `caption_ranks`."""
    _check(scores, owner)
    right = scores[owner, torch.arange(len(owner), device=owner.device)]
    ahead = ~(scores < right)
    ahead[owner, torch.arange(len(owner), device=owner.device)] = False
    return 1 + ahead.sum(0)


def retrieval_metrics(
    scores: Tensor, owner: Tensor, ks: Sequence[int] = KS, image_scores: Tensor | None = None
) -> dict[str, float]:
    """Recalls of both directions in [0, 1], the sum of them in percent, and median ranks.

    tr_r<k>: share of images with one of their captions among the k best captions; ir_r<k>: share of captions whose
    image is among the k best images. scores [B, N]; owner [N]; image_scores [B, N]: other scores for the search of
    images, where both directions are scored on their own (two-stage search).
    """
    found: dict[str, float] = {}
    ranks = {
        "tr": caption_ranks(scores, owner),
        "ir": image_ranks(scores if image_scores is None else image_scores, owner),
    }
    for direction, of in ranks.items():
        for k in ks:
            found[f"{direction}_r{k}"] = float((of <= k).double().mean())
    found["rsum_percent"] = 100 * sum(found.values())
    for direction, of in ranks.items():
        found[f"{direction}_median_rank"] = float(of.double().quantile(0.5))
    return found


def guessing(owner: Tensor, images: int, ks: Sequence[int] = KS) -> dict[str, float]:
    """The recalls, named as in `retrieval_metrics`, that a ranking by chance has on average.

    An image with c of N captions has none of them among k with the probability C(N - c, k) / C(N, k).
    """
    captions, own = len(owner), torch.bincount(owner, minlength=images)
    asked = own[own > 0].tolist()
    found = {}
    for k in ks:
        missed = [comb(captions - c, min(k, captions)) / comb(captions, min(k, captions)) for c in asked]
        found[f"tr_r{k}"] = 1 - sum(missed) / len(missed)
        found[f"ir_r{k}"] = min(1.0, k / images)
    return found


def fold_mean(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over folds; COCO's 1K protocol is that of five folds of 1,000 images."""
    if not folds:
        raise ValueError("a mean over folds needs at least one fold")
    return {name: sum(fold[name] for fold in folds) / len(folds) for name in folds[0]}


def _check(scores: Tensor, owner: Tensor) -> None:
    if scores.ndim != 2 or owner.shape != scores.shape[1:] or not len(owner):
        raise ValueError(
            f"scores are {list(scores.shape)} and owner {list(owner.shape)}; they must be [B, N] and [N], N > 0"
        )
    if int(owner.min()) < 0 or int(owner.max()) >= len(scores):
        raise ValueError(f"owner names image {int(owner.max())}; there are {len(scores)} images")
