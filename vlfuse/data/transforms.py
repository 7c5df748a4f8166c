"""From a picture of any size to a normalised square, with its boxes.

Shapes: n boxes, S side of the square. Boxes are [x0, y0, x1, y1] in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlfuse.data import pil_augment
from vlfuse.data.augment import rand_augment
from vlfuse.types import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Transformed: TypeAlias = tuple[Tensor, Tensor, Tensor]
Distortion: TypeAlias = Callable[[np.ndarray, Tensor, np.random.Generator], tuple[np.ndarray, Tensor]]

# The kinds of RandAugment by name: FIBER's, BridgeTower's for questions, and BridgeTower's for all else.
DISTORTIONS: dict[str, Distortion] = {
    "randaugment": rand_augment,
    "randaugment-mild": partial(rand_augment, magnitude=5),
    "randaugment-pil": pil_augment.rand_augment,
}


class Transform(Protocol):
    """image: RGB; boxes [n, 4] in its pixels; rng: the only source of chance.

    Returns pixels [3, S, S] normalised, the boxes [n, 4] in pixels of the square, and keep [n] bool: False where
    nothing of a box is left in view (its row is then meaningless).
    """

    @property
    def size(self) -> int: ...

    def __call__(self, image: Image.Image, boxes: Tensor, rng: np.random.Generator) -> Transformed: ...


@dataclass(frozen=True)
class EvalTransform:
    """Stretch to a square of `size` pixels a side, bicubic: FIBER's plain transform, also used for its pre-training.

    keep_aspect: a rectangle of the picture's own shape and about as many pixels instead, sides in multiples of 8.
    crop: the middle square of the picture, its shorter side brought to `size` (CLIP's,
    with which BridgeTower is pre-trained).
    """

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    keep_aspect: bool = False
    crop: bool = False

    def __post_init__(self):
        if self.keep_aspect and self.crop:
            raise ConfigError(
                "keep_aspect and crop exclude each other: the one keeps the whole picture, the other its middle"
            )

    def __call__(self, image: Image.Image, boxes: Tensor, rng: np.random.Generator) -> Transformed:
        if self.crop:
            return self._middle(image, boxes)
        width, height = same_area(image.size, self.size) if self.keep_aspect else (self.size, self.size)
        pixels = normalise(np.asarray(_resize(image, width, height).convert("RGB")), self.mean, self.std)
        return (pixels, *clip(stretch(boxes, image.size, width, height), width, height))

    def _middle(self, image: Image.Image, boxes: Tensor) -> Transformed:
        """Resize first, as published: what lies beyond the square still shows through the interpolation at its
        border."""
        shorter = min(image.size)
        width, height = (int(self.size * side / shorter) for side in image.size)
        x, y = round((width - self.size) / 2), round((height - self.size) / 2)
        middle = _resize(image, width, height).crop((x, y, x + self.size, y + self.size))
        boxes = stretch(boxes, image.size, width, height) - boxes.new_tensor([x, y, x, y])
        return (normalise(np.asarray(middle.convert("RGB")), self.mean, self.std), *clip(boxes, self.size))


@dataclass(frozen=True)
class TrainTransform:
    """Random part of the picture, stretched to a square; then, if asked, a mirror and RandAugment (the kind `distort`).

    Source: FIBER's fine-tuning transform, which crops 0.5 to 1 of the area and mirrors half of the pictures even where
    the text says "left" or "right". Here `flip` is off unless asked for: it is sound only for texts that name no sides.
    """

    size: int
    randaugment: bool = True
    flip: bool = False
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    distort: Distortion = rand_augment

    def __call__(self, image: Image.Image, boxes: Tensor, rng: np.random.Generator) -> Transformed:
        x0, y0, x1, y1 = random_crop(image.size, self.scale, self.ratio, rng)
        boxes = boxes - boxes.new_tensor([x0, y0, x0, y0])
        boxes, keep = clip(boxes, x1 - x0, y1 - y0)
        boxes = stretch(boxes, (x1 - x0, y1 - y0), self.size, self.size)
        pixels = np.asarray(_resize(image.crop((x0, y0, x1, y1)), self.size, self.size))
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
            boxes = torch.stack([self.size - boxes[:, 2], boxes[:, 1], self.size - boxes[:, 0], boxes[:, 3]], dim=1)
        if self.randaugment:
            pixels, boxes = self.distort(pixels, boxes, rng)
        boxes, in_view = clip(boxes, self.size)
        return normalise(pixels, self.mean, self.std), boxes, keep & in_view


def random_crop(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random rectangle in a picture of size (width, height): its share of the area uniform in `scale`, its width over
    height log-uniform in `ratio`. After ten that do not fit, the largest centred one within `ratio`."""
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return (x, y, x + w, y + h)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    x, y = (width - w) // 2, (height - h) // 2
    return (x, y, x + w, y + h)


def same_area(size: tuple[int, int], side: int, step: int = 8) -> tuple[int, int]:
    """(width, height) in multiples of `step`, shaped like `size` with the area of a square of `side`;
    at most 8 times as long as wide."""
    aspect = min(max(size[0] / size[1], 1 / 8), 8.0) ** 0.5
    return max(step, round(side * aspect / step) * step), max(step, round(side / aspect / step) * step)


def stretch(boxes: Tensor, size: tuple[int, int], width: int, height: int) -> Tensor:
    """Boxes of a picture of size (width, height) once it is stretched to `width` x `height`."""
    if not len(boxes):  # most batches of the coarse stage ask for none
        return boxes
    across, down = width / size[0], height / size[1]
    return boxes * boxes.new_tensor([across, down, across, down])


def clip(boxes: Tensor, width: int, height: int | None = None) -> tuple[Tensor, Tensor]:
    """Boxes [n, 4] cut at the border, and which of them [n] have area left."""
    if not len(boxes):
        return boxes, torch.zeros(0, dtype=torch.bool)
    height = width if height is None else height
    limits = boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def normalise(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[H, W, 3] uint8 -> [3, H, W] float32 with zero mean and unit deviation over the statistics given (of values
    in [0, 1])."""
    scale, shift = _scale_and_shift(mean, std)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().mul_(scale).add_(shift)


@lru_cache(maxsize=8)
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    scale = torch.tensor([1 / (255 * s) for s in std])
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
    return scale.view(3, 1, 1), shift.view(3, 1, 1)


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
