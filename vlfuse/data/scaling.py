"""From a picture of any size to one whose short side has a given length, its shape kept, with its boxes.

Shapes: n boxes. Boxes are [x0, y0, x1, y1] in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlfuse.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Transformed,
    clip,
    normalise,
    random_crop,
    stretch,
)
from vlfuse.types import ConfigError

PUBLISHED_SIDES = (480, 560, 640, 720, 800)  # of FIBER's fine stage, which evaluates at 800
PUBLISHED_LONGEST = 1333


@dataclass(frozen=True)
class ScaleTransform:
    """Short side of one of `sides` pixels, drawn at random (one alone for evaluation),
    but the long one of at most `longest`.

    crop: first, half of the time, a random part of the picture that holds at least one box and cuts none: what is in
    the part is wholly in it. mirrored (by the caller, who knows the texts): left and right exchanged.
    The published checkpoints' habits, which importers set: bgr, channels in the order blue, green, red; inclusive,
    boxes end in their last pixel ([0, 0, 9, 9] holds ten by ten), and a box without two pixels either way is left out.
    """

    sides: tuple[int, ...] = (PUBLISHED_SIDES[-1],)
    longest: int = PUBLISHED_LONGEST
    crop: bool = False
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (1 / 2, 2.0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bgr: bool = False
    inclusive: bool = False

    def __post_init__(self):
        if not self.sides or min(self.sides) < 1 or self.longest < max(self.sides):
            raise ConfigError(
                f"sides {self.sides}, longest {self.longest}: give at least one length in pixels, and none above the longest"
            )

    def __call__(
        self, image: Image.Image, boxes: Tensor, rng: np.random.Generator, mirrored: bool = False
    ) -> Transformed:
        """image: RGB; boxes [n, 4] in its pixels -> pixels [3, H, W] normalised, boxes [n, 4] in these, and keep [n]
        bool: False where nothing of a box is left in view."""
        boxes, keep = inclusive_boxes(boxes, image.size) if self.inclusive else clip(boxes, *image.size)
        if self.crop and rng.random() < 0.5:
            part = whole_boxes_crop(image.size, boxes[keep], self.scale, self.ratio, rng)
            image, (boxes, inside) = image.crop(part), crop_boxes(boxes, part)
            keep = keep & inside
        short = int(rng.choice(self.sides))
        width, height = scaled_size(image.size, short, self.longest)
        boxes = stretch(boxes, image.size, width, height)
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        if mirrored:
            pixels, boxes = pixels[:, ::-1], mirror(boxes, width - self.inclusive)
        normal = normalise(pixels, self.mean, self.std)
        return normal.flip(0).contiguous() if self.bgr else normal, boxes, keep


def longest_for(short: int) -> int:
    """What the long side may have beside a short one of `short` pixels: in the published proportion, 1333 to 800."""
    return short * 5 // 3


def scaled_size(size: tuple[int, int], short: int, longest: int) -> tuple[int, int]:
    """(width, height) of a picture of `size` (width, height) once its short side has `short` pixels, or fewer where the
    long one would have more than `longest` (by rounding, the long one may still come out a few pixels above)."""
    low, high = min(size), max(size)
    if high / low * short > longest:
        short = round(longest * low / high)
    short, other = (short, int(short * high / low)) if short else (1, longest)  # thinner than a pixel
    return (short, other) if size[0] < size[1] else (other, short)


def inclusive_boxes(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Edges -> last pixels: x1 and y1 one less, cut at the border of a picture of `size`;
    and which boxes [n] have extent left."""
    moved = boxes - boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return clip(moved, size[0] - 1, size[1] - 1)


def mirror(boxes: Tensor, width: float) -> Tensor:
    """Boxes [n, 4] once the picture's left and right are exchanged; inclusive boxes take the width less one."""
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)


def whole_boxes_crop(
    size: tuple[int, int],
    boxes: Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """A random rectangle, grown until it cuts no box [n, 4] and, where there are boxes, holds one."""
    part = np.array(random_crop(size, scale, ratio, rng), dtype=np.float64)
    limits = boxes.double().numpy()
    if len(limits) and not _meets(part, limits).any():
        part = _around(part, limits[[int(rng.integers(len(limits)))]])
    while True:
        met = limits[_meets(part, limits)]
        grown = _around(part, met) if len(met) else part
        if (grown == part).all():
            break
        part = grown
    x0, y0 = np.floor(part[:2]).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(part[2:]), size).astype(int).tolist()
    return (x0, y0, x1, y1)


def crop_boxes(boxes: Tensor, part: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Boxes [n, 4] in pixels of a part of the picture, and which of them [n] lie in it."""
    moved = boxes - boxes.new_tensor([part[0], part[1], part[0], part[1]])
    return clip(moved, part[2] - part[0], part[3] - part[1])


def _meets(part: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return np.logical_and((boxes[:, :2] < part[2:]).all(1), (boxes[:, 2:] > part[:2]).all(1))


def _around(part: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.minimum(part[:2], boxes[:, :2].min(0)), np.maximum(part[2:], boxes[:, 2:].max(0))])
