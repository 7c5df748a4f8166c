"""Non-maximum suppression in plain PyTorch.

Shapes: N boxes.
"""

import torch
from torch import Tensor

from vlfuse.ops.boxes import iou

CHUNK = 1024  # boxes compared at once: bounds the memory, and ends early when enough are kept


def nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, most: int | None = None, pixel: float = 0.0
) -> Tensor:
    """Greedy, for each label on its own: a box goes when it overlaps a better one that stays by more than `threshold`.

    boxes [N, 4], scores [N], labels [N]. Returns the places of those that stay, best first, at most `most` of them.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for chunk in order.split(CHUNK):
        free = chunk[~_suppressed(kept, chunk, boxes, labels, threshold, pixel).any(0)]
        better = _suppressed(free, free, boxes, labels, threshold, pixel).triu(1).float()
        stays = torch.ones(len(free), device=boxes.device)
        # What a box that stays suppresses goes; repeated until nothing changes, this is the greedy result: after n
        # rounds the first n boxes are decided.
        for _ in range(len(free)):
            found = (stays @ better == 0).float()
            if torch.equal(found, stays):
                break
            stays = found
        kept = torch.cat([kept, free[stays.bool()]])
        if most is not None and len(kept) >= most:
            break
    return kept[:most]


def _suppressed(by: Tensor, rows: Tensor, boxes: Tensor, labels: Tensor, threshold: float, pixel: float) -> Tensor:
    """[by, rows] bool: would box `by` suppress the other?"""
    return (iou(boxes[by], boxes[rows], pixel) > threshold) & (labels[by][:, None] == labels[rows][None])
