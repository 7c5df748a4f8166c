"""Boxes [x0, y0, x1, y1]: sizes, overlaps, and their coding against anchors.

`pixel` is what a box's last pixel adds to its extent: 0 where x1 is an edge, 1 where x1 is the last pixel inside (the
convention of the published detector).

Shapes: N, M boxes.
"""

import math

import torch
from torch import Tensor

WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the coded x, y, width, height, which brings them to about unit variance
LARGEST = math.log(1000 / 16)  # a coded log size beyond this is taken for this


def area(boxes: Tensor, pixel: float = 0.0) -> Tensor:
    """[..., 4] -> [...]."""
    return (boxes[..., 2] - boxes[..., 0] + pixel) * (boxes[..., 3] - boxes[..., 1] + pixel)


def iou(a: Tensor, b: Tensor, pixel: float = 0.0) -> Tensor:
    """Intersection over union of every pair: [N, 4], [M, 4] -> [N, M]; 0 where both boxes are empty."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low + pixel).clamp(min=0).prod(-1)
    union = area(a, pixel)[:, None] + area(b, pixel)[None] - common
    return torch.where(union > 0, common / union, 0.0)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of boxes side by side: [N, 4], [N, 4] -> [N].

    A right or bottom edge of `a` left of or above its opposite counts as lying there.
    """
    a = torch.cat([a[:, :2], torch.maximum(a[:, :2], a[:, 2:])], dim=1)
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1) + 1e-7
    union = area(a) + area(b) - common + 1e-7
    return common / union - (hull - union) / hull


def centres(boxes: Tensor) -> Tensor:
    """[N, 4] -> [N, 2], (x, y)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def encode(boxes: Tensor, anchors: Tensor, pixel: float = 0.0) -> Tensor:
    """Boxes as offsets from anchors, in units of the anchor's size and in log sizes: [N, 4], [N, 4] -> [N, 4].

    Source: Faster R-CNN (Ren et al. 2015), section 3.1.2.
    """
    size, box_size = anchors[:, 2:] - anchors[:, :2] + pixel, boxes[:, 2:] - boxes[:, :2] + pixel
    shift = (centres(boxes) - centres(anchors)) / size
    return torch.cat([shift, (box_size / size).log()], dim=1) * anchors.new_tensor(WEIGHTS)


def decode(codes: Tensor, anchors: Tensor, pixel: float = 0.0) -> Tensor:
    """The boxes that `encode` made codes of; log sizes are capped at log(1000 / 16)."""
    codes = codes / anchors.new_tensor(WEIGHTS)
    size = anchors[:, 2:] - anchors[:, :2] + pixel
    centre = codes[:, :2] * size + centres(anchors)
    half = (codes[:, 2:].clamp(max=LARGEST).exp() * size - pixel) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """How near to a box's middle a point inside it lies (FCOS, Tian et al. 2019, equation 3): [N, 2], [N,
    4] -> [N] in [0, 1]."""
    near, far = points - boxes[:, :2], boxes[:, 2:] - points
    ratio = torch.minimum(near, far) / torch.maximum(near, far)
    return ratio.clamp(min=0).prod(-1).sqrt()


def clip(boxes: Tensor, size: Tensor, pixel: float = 0.0) -> Tensor:
    """Boxes [N, 4] cut to a picture of size [2] (height, width) pixels."""
    limit = (size.flip(0) - pixel).to(boxes.dtype).repeat(2)
    return torch.minimum(boxes.clamp(min=0), limit)
