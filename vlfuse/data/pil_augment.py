"""RandAugment (Cubuk et al. 2020) on Pillow, as BridgeTower is fine-tuned with: 14 operations on RGB pictures,
with their boxes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from vlfuse.data.augment import move_boxes, rotate

STRONGEST = 30  # of the scale that `magnitude` counts on


def rand_augment(
    pixels: np.ndarray, boxes: Tensor, rng: np.random.Generator, draws: int = 2, magnitude: float = 7.0
) -> tuple[np.ndarray, Tensor]:
    """Apply `draws` operations drawn with replacement, each at `magnitude` of 30, geometric ones in a random direction.

    pixels [H, W, 3] uint8; boxes [n, 4] become the upright rectangles around their moved corners, uncut.
    """
    image = Image.fromarray(pixels)
    for name in rng.choice(list(RANGES), size=draws):
        value = strength(name, magnitude)
        if name in PHOTOMETRIC:
            image = PHOTOMETRIC[name](image, value)
        else:
            backward = GEOMETRIC[name](value if rng.random() < 0.5 else -value, *image.size)
            image, boxes = warp(image, backward), move_boxes(boxes, _forward(backward))
    return np.asarray(image), boxes


def strength(name: str, magnitude: float) -> float:
    """The argument of an operation at a magnitude of 0 to 30."""
    low, high = RANGES[name]
    return magnitude / STRONGEST * (high - low) + low


# --- photometric ---------------------------------------------------------------------------------------------------


def posterize(image: Image.Image, value: float) -> Image.Image:
    """Keep the first bits of each channel; the fraction of a bit is dropped, and one always stays."""
    return ImageOps.posterize(image, max(1, int(value)))


def solarize_add(image: Image.Image, value: float) -> Image.Image:
    """Brighten by a constant, then invert what is brighter than the middle."""
    added = np.clip(np.asarray(image).astype(np.float64) + value, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(added), 128)


PHOTOMETRIC: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda image, value: ImageOps.autocontrast(image),
    "Equalize": lambda image, value: ImageOps.equalize(image),
    "Posterize": posterize,
    "Solarize": lambda image, value: ImageOps.solarize(image, value),  # type: ignore[arg-type]
    "SolarizeAdd": solarize_add,
    "Color": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "Contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "Brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "Sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
}

# --- geometric: 2 x 3 matrices that take a point of the new picture to the old one, in edges ------------------------


def turn_back(degrees: float, width: int, height: int) -> np.ndarray:
    """Positive turns the picture counter-clockwise about its middle."""
    return rotate(-degrees, width, height)


GEOMETRIC: dict[str, Callable[[float, int, int], np.ndarray]] = {
    "Rotate": turn_back,
    "ShearX": lambda value, width, height: np.array([[1, value, 0], [0, 1, 0]]),
    "ShearY": lambda value, width, height: np.array([[1, 0, 0], [value, 1, 0]]),
    "TranslateXabs": lambda value, width, height: np.array([[1, 0, value], [0, 1, 0]]),
    "TranslateYabs": lambda value, width, height: np.array([[1, 0, 0], [0, 1, value]]),
}

RANGES: dict[str, tuple[float, float]] = {
    "AutoContrast": (0, 1), "Equalize": (0, 1), "Rotate": (0, 30), "Posterize": (0, 4), "Solarize": (0, 256),
    "SolarizeAdd": (0, 110), "Color": (0.1, 1.9), "Contrast": (0.1, 1.9), "Brightness": (0.1, 1.9), "Sharpness": (0.1, 1.9),
    "ShearX": (0, 0.3), "ShearY": (0, 0.3), "TranslateXabs": (0, 100), "TranslateYabs": (0, 100),
}  # fmt: skip


def warp(image: Image.Image, backward: np.ndarray) -> Image.Image:
    """Move a picture: nearest neighbour, black outside."""
    return image.transform(image.size, Image.Transform.AFFINE, tuple(backward.flatten().tolist()))


def _forward(backward: np.ndarray) -> np.ndarray:
    """From old to new, between centres at whole numbers, as `move_boxes` wants it."""
    matrix = np.linalg.inv(np.vstack([backward, [0, 0, 1]]))[:2]
    matrix[:, 2] += (matrix[:, :2] - np.eye(2)) @ [0.5, 0.5]
    return matrix
