"""What region predictions learn: boxes, how central each place is, and which tokens name it (GLIP, Li et al. 2022; FIBER 3.2).

Shapes: N texts with one picture each, A places, T text tokens, M objects of the batch, P positive places.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vlfuse.layers.regions import RegionScores
from vlfuse.ops.anchors import assign
from vlfuse.ops.boxes import centerness, centres, decode, encode, giou
from vlfuse.ops.distributed import mean_count
from vlfuse.types import Objects

BOX_WEIGHT = 2.0


def token_focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017, equation 5) of every logit against its target in {0, 1}; shapes are alike."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (target - logits.sigmoid()).abs()
    return loss * wrong**gamma * (alpha * target + (1 - alpha) * (1 - target))


def box_loss(boxes: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum of weight x (1 - GIoU): [P, 4], [P, 4], [P] -> []."""
    return (weight * (1 - giou(boxes, target))).sum()


def region_targets(
    objects: Objects, count: int, levels: Sequence[Tensor], tokens: int, pixel: float, background: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What every place of `count` pictures learns: the row of `objects` or -1 [N, A], and [N, A, T] in {0, 1} the tokens that name it.

    background: quirk of the published detector, places without object name the last token.
    """
    rows = []
    for text in range(count):
        own = (objects.text == text).nonzero().squeeze(1)
        found = assign(levels, objects.boxes[own], pixel=pixel)
        rows.append(torch.where(found >= 0, own[found] if len(own) else found, -1))
    row = torch.stack(rows)
    names = row.new_zeros((*row.shape, tokens), dtype=torch.float)
    names[row >= 0] = (objects.positive[row[row >= 0]] > 0).float()
    if background:
        names[..., -1] = torch.where(row >= 0, names[..., -1], 1.0)
    return row, names, row >= 0


def region_losses(
    scores: RegionScores, levels: Sequence[Tensor], objects: Objects, mask: Tensor, pixel: float, background: bool
) -> dict[str, Tensor]:
    """The three losses, "box", "centerness" and "tokens", each [] with gradient, whose sum is learnt; levels are the anchors.

    mask [N, T]: real tokens. pixel: see `vlfuse.ops.boxes`. Each is a mean over the positive places of all processes, the box loss
    weighted by how central a place is. Without any object only the tokens' loss is not zero.
    """
    row, names, positive = region_targets(objects, len(mask), levels, mask.shape[1], pixel, background)
    anchors = torch.cat(list(levels)).expand(len(mask), -1, -1)[positive]
    boxes, points = objects.boxes[row[positive]], centres(anchors)
    # The published target of the box loss is the box as its code gives it back: the same but for rounding and the cap.
    boxes = decode(encode(boxes, anchors, pixel), anchors, pixel)
    central = centerness(points, boxes)
    number, weight = mean_count(positive.sum()).clamp(min=1), mean_count(central.sum())
    focal = token_focal(scores.tokens, names) * mask[:, None]
    predicted = decode(scores.codes[positive], anchors, pixel)
    return {
        "box": BOX_WEIGHT * box_loss(predicted, boxes, central) / weight.clamp(min=1e-6),
        "centerness": F.binary_cross_entropy_with_logits(scores.centerness[positive], central, reduction="sum") / number,
        "tokens": focal.sum() / number,
    }
