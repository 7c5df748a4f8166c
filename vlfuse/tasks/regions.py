"""From region predictions to boxes with labels: detection, phrase grounding and referring are one step.

A label is a set of tokens: a class name in a prompt (detection), a phrase of a caption (grounding),
a whole expression (referring).

Shapes: N texts with one picture each, A places, T text tokens, L labels of one text, K found boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlfuse.layers.regions import RegionScores
from vlfuse.objectives.grounding import Grounding
from vlfuse.ops.boxes import centres, clip, decode
from vlfuse.ops.nms import nms
from vlfuse.systems.base import System
from vlfuse.types import Images, ImageState, Rows, TextState


@dataclass(frozen=True)
class Regions(Rows):
    """Boxes [K, 4] in pixels of the picture as the model saw it, scores [K] in [0, 1], best first,
    labels [K] rows of the label map."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Keep:
    """Which boxes to keep: at places whose label has a probability above `threshold`, the best `per_level` of each
    level; of two with one label that overlap by more than `overlap` the better; the best `most` of a text. Defaults:
    as published for detection."""

    threshold: float = 0.05
    per_level: int = 1000
    overlap: float = 0.6
    most: int = 100


DETECT = GROUND = Keep()
REFER = Keep(threshold=0.0, per_level=3000)


@torch.no_grad()
def find(
    system: System,
    head: Grounding,
    image: ImageState,
    sizes: Tensor,
    text: TextState,
    maps: Sequence[Tensor],
    keep: Keep = DETECT,
) -> list[Regions]:
    """The boxes of every label of N texts, each about the image of its row; see `find_regions`.

    image: a state of `encode_maps`; many prompts about one picture take `image[[0] * N]`. sizes [N, 2] true (height,
    width).
    """
    scores = head.scores(system.fuse_maps(image, text), sizes)
    levels = head.anchors(scores.grids, scores.codes.device)
    return find_regions(scores, levels, sizes, maps, keep, head.pixel, padding=head.published)


def find_regions(
    scores: RegionScores,
    levels: Sequence[Tensor],
    sizes: Tensor,
    maps: Sequence[Tensor],
    keep: Keep = DETECT,
    pixel: float = 0.0,
    padding: bool = False,
) -> list[Regions]:
    """The boxes of every label of every text.

    levels: the anchors. sizes [N, 2] true (height, width) of the pictures; boxes are cut to them. maps: for each text
    [L, T], above 0 at the tokens of each label, whose mean probability is the label's; a label without tokens is found
    nowhere. pixel: see `vlfuse.ops.boxes`. padding: quirk of the published detector,
    places beyond the picture are looked at, too.
    """
    anchors, counts = torch.cat(list(levels)), [len(level) for level in levels]
    place = torch.arange(len(anchors), device=anchors.device).split(counts)
    found = []
    for i, label_map in enumerate(maps):
        named = (label_map > 0).to(scores.tokens.dtype)
        weights = named / named.sum(1, keepdim=True).clamp(min=1)
        probability = scores.tokens[i, :, : weights.shape[1]].sigmoid() @ weights.T
        possible = probability > keep.threshold
        if not padding:
            possible &= (centres(anchors) < sizes[i].flip(0)).all(1)[:, None]
        score = (probability * scores.centerness[i].sigmoid()[:, None]).masked_fill(~possible, -1.0)
        best = [_best(score, level, keep.per_level) for level in place]
        row, label = (torch.cat(column) for column in zip(*best, strict=True))
        boxes = clip(decode(scores.codes[i, row], anchors[row], pixel), sizes[i], pixel)
        value = score[row, label].sqrt()
        stay = nms(boxes, value, label, keep.overlap, keep.most, pixel)
        found.append(Regions(boxes[stay], value[stay], label[stay]))
    return found


def to_stored(found: Sequence[Regions], images: Images, owner: Sequence[int], pixel: float = 0.0) -> list[Regions]:
    """With boxes in pixels of the pictures before their transform, on the CPU; owner: the row of `images` that each is
    about. pixel: 1 makes boxes that end with their last pixel (`Grounding.pixel`) end behind it."""
    assert images.stored is not None, "what shows pictures with boxes says how large they were"
    scales = (images.stored / images.sizes).flip(1)  # of x and y
    ends = images.sizes.new_tensor([0.0, 0.0, pixel, pixel], dtype=torch.float)
    return [
        replace(regions, boxes=(regions.boxes + ends) * scales[row].repeat(2)).to("cpu")
        for regions, row in zip(found, owner, strict=True)
    ]


def _best(score: Tensor, level: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(places, labels) of the best scores [A, L] among the places of a level; what is not possible scores below 0."""
    own = score[level].flatten()
    top = own.topk(min(most, len(own))).indices
    top = top[own[top] >= 0]
    return level[top // score.shape[1]], top % score.shape[1]
