"""Anchors of a feature pyramid, and which of them learn which object (ATSS, Zhang et al. 2020).

Shapes: L levels, A anchors of all levels, M objects.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vlfuse.ops.boxes import centres, iou

INSIDE = 0.01  # pixels by which a positive anchor's centre must lie within its object


def anchors_of(
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    scale: float,
    device: torch.device | str = "cpu",
    pixel: float = 0.0,
) -> list[Tensor]:
    """One square anchor at each place of each level, `scale` strides a side: per level [h * w, 4], row by row.

    pixel: see `vlfuse.ops.boxes`; with 1, centres are those of pixels and not of the squares between them.
    """
    levels = []
    for (h, w), stride in zip(grids, strides, strict=True):
        half = (scale * stride - pixel) / 2
        y = torch.arange(h, device=device) * stride + (stride - pixel) / 2
        x = torch.arange(w, device=device) * stride + (stride - pixel) / 2
        y, x = (c.flatten() for c in torch.meshgrid(y, x, indexing="ij"))
        levels.append(torch.stack([x - half, y - half, x + half, y + half], dim=1))
    return levels


def assign(levels: Sequence[Tensor], boxes: Tensor, nearest: int = 9, pixel: float = 0.0) -> Tensor:
    """The object each anchor learns, -1 for background: levels of [A_l, 4], boxes [M, 4] -> [A] int64.

    Candidates of an object are the `nearest` anchors to its centre on every level; of these the ones whose overlap
    reaches the mean plus the standard deviation over the candidates, and whose centre lies in the object. An anchor
    that several objects claim goes to the one it overlaps most.
    """
    anchors = torch.cat(list(levels))
    if not len(boxes):
        return anchors.new_full((len(anchors),), -1, dtype=torch.long)
    points = centres(anchors)
    distance = (points[:, None] - centres(boxes)[None]).pow(2).sum(-1).sqrt()
    candidates, first = [], 0
    for level in levels:
        near = distance[first : first + len(level)].topk(min(nearest, len(level)), dim=0, largest=False).indices
        candidates.append(near + first)
        first += len(level)
    candidate = torch.cat(candidates)
    overlap = iou(anchors, boxes, pixel)
    among = overlap.gather(0, candidate)
    threshold = among.mean(0) + (among.std(0) if len(among) > 1 else 0)
    chosen = torch.zeros_like(overlap, dtype=torch.bool).scatter(0, candidate, among >= threshold)
    margin = torch.minimum(points[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - points[:, None]).amin(-1)
    best = overlap.masked_fill(~(chosen & (margin > INSIDE)), -1.0).max(1)
    return torch.where(best.values >= 0, best.indices, -1)
