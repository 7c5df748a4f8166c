"""The ten operations of FIBER's and BridgeTower's RandAugment (Cubuk et al. 2020) on [H, W, 3] uint8 pictures,
with their boxes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

FILL = (128, 128, 128)

# What magnitude 7 of 10 means in the reference, FIBER's.
MAGNITUDE = 7
FACTOR = 1.36  # brightness, sharpness; at magnitude 5, BridgeTower's for questions, exactly 1: nothing
SHEAR = 0.21
SHIFT = 7.0  # pixels
ANGLE = 21.0  # degrees


def rand_augment(
    pixels: np.ndarray,
    boxes: Tensor,
    rng: np.random.Generator,
    draws: int = 2,
    probability: float = 0.5,
    magnitude: int = MAGNITUDE,
) -> tuple[np.ndarray, Tensor]:
    """Draw `draws` operations with replacement and apply each with `probability`; geometric ones in a random direction.

    magnitude: of 10.

    Boxes [n, 4] become the upright rectangles around their moved corners, uncut.
    """
    for name in rng.choice(OPERATIONS, size=draws):
        if rng.random() >= probability:
            continue
        if name in ENHANCING:
            pixels = PHOTOMETRIC[name](pixels, 0.1 + 1.8 * magnitude / 10)
        elif name in PHOTOMETRIC:
            pixels = PHOTOMETRIC[name](pixels)
        else:
            make, strength = GEOMETRIC[name]
            strength *= magnitude / MAGNITUDE
            matrix = make(strength if rng.random() < 0.5 else -strength, pixels.shape[1], pixels.shape[0])
            pixels, boxes = warp(pixels, matrix), move_boxes(boxes, matrix)
    return pixels, boxes


# --- photometric ---------------------------------------------------------------------------------------------------


def identity(pixels: np.ndarray) -> np.ndarray:
    return pixels


def auto_contrast(pixels: np.ndarray, wrapping: bool = False) -> np.ndarray:
    """Stretch each channel to 0..255; a channel of one value stays.

    wrapping: do as the reference, whose 8-bit arithmetic takes 256 - low for -low,
    so that any channel without a 0 turns white.
    """
    tables = []
    for channel in range(3):
        low, high = int(pixels[..., channel].min()), int(pixels[..., channel].max())
        scale = 255 / (high - low) if high > low else 1.0
        start = 0 if high == low else (-low) % 256 if wrapping else -low
        tables.append(np.clip(np.arange(256) * scale + start * scale, 0, 255).astype(np.uint8))
    return _look_up(pixels, tables)


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Spread the values of each channel so that all are about equally frequent; a channel of one value stays."""
    tables = []
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256)
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if step == 0:
            tables.append(np.arange(256, dtype=np.uint8))
            continue
        below = np.concatenate([[0], np.cumsum(counts)[:-1]])
        tables.append(np.clip((below + step // 2) // step, 0, 255).astype(np.uint8))
    return _look_up(pixels, tables)


def brightness(pixels: np.ndarray, factor: float = FACTOR) -> np.ndarray:
    table = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)
    return table[pixels]


def sharpness(pixels: np.ndarray, factor: float = FACTOR) -> np.ndarray:
    """Move away from (factor > 1) or towards (< 1) a 3 x 3 smoothed copy; the border keeps its values."""
    height, width = pixels.shape[:2]
    if height < 3 or width < 3:
        return pixels
    values = pixels.astype(np.float32)
    around = sum(
        values[y : height - 2 + y, x : width - 2 + x] * (5 if (y, x) == (1, 1) else 1)
        for y in range(3)
        for x in range(3)
    )
    smooth = np.rint(around / 13)  # the smoothed copy is itself a picture of whole numbers
    out = pixels.copy()
    inner = smooth + factor * (values[1:-1, 1:-1] - smooth)
    out[1:-1, 1:-1] = np.clip(inner, 0, 255).astype(np.uint8)
    return out


def _look_up(pixels: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)], axis=-1)


# --- geometric: 2 x 3 matrices that take a point of the old picture to the new one ------------------------------------


def shear_x(factor: float, width: int, height: int) -> np.ndarray:
    return np.array([[1, factor, 0], [0, 1, 0]], dtype=np.float64)


def shear_y(factor: float, width: int, height: int) -> np.ndarray:
    return np.array([[1, 0, 0], [factor, 1, 0]], dtype=np.float64)


def translate_x(shift: float, width: int, height: int) -> np.ndarray:
    """Positive moves the content to the left."""
    return np.array([[1, 0, -shift], [0, 1, 0]], dtype=np.float64)


def translate_y(shift: float, width: int, height: int) -> np.ndarray:
    """Positive moves the content up."""
    return np.array([[1, 0, 0], [0, 1, -shift]], dtype=np.float64)


def rotate(degrees: float, width: int, height: int) -> np.ndarray:
    """Positive turns counter-clockwise about (width / 2, height / 2)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return np.array([[cos, sin, (1 - cos) * x - sin * y], [-sin, cos, sin * x + (1 - cos) * y]])


def warp(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Move a picture by an affine matrix: bilinear, FILL outside, pixel centres at whole numbers.

    Bit-equal to OpenCV 5's warpAffine: single precision, each multiply-add rounded once, left-right before up-down.
    """
    height, width = pixels.shape[:2]
    (a, b, c), (d, e, f) = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2].astype(np.float32)
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    x, y = _multiply_add(a, columns, b * rows) + c, _multiply_add(d, columns, e * rows) + f
    left, top = np.floor(x), np.floor(y)
    u, v = (x - left)[..., None], (y - top)[..., None]
    left, top = left.astype(np.int64), top.astype(np.int64)

    framed = np.full((height + 2, width + 2, 3), FILL, dtype=np.float32)
    framed[1:-1, 1:-1] = pixels

    def row(below: int) -> np.ndarray:
        at = np.clip(top + 1 + below, 0, height + 1)
        first, second = (framed[at, np.clip(left + 1 + right, 0, width + 1)] for right in (0, 1))
        return _multiply_add(second - first, u, first)

    upper, lower = row(0), row(1)
    return np.rint(_multiply_add(lower - upper, v, upper)).astype(np.uint8)


def _multiply_add(a: np.ndarray | np.float32, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a x b + c of single-precision numbers, rounded once; the product is exact in double precision."""
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float32)


def move_boxes(boxes: Tensor, matrix: np.ndarray) -> Tensor:
    """The upright rectangles [n, 4] around the moved corners of boxes [n, 4].

    Boxes speak of edges (pixel i covers i to i + 1), the matrix of centres at whole numbers: hence the half pixels.
    """
    x0, y0, x1, y1 = (boxes - 0.5).unbind(1)
    corners = torch.stack([torch.stack([x, y, torch.ones_like(x)], 1) for x in (x0, x1) for y in (y0, y1)], 1)
    moved = corners @ torch.from_numpy(matrix).to(boxes.dtype).T + 0.5
    return torch.cat([moved.amin(1), moved.amax(1)], dim=1)


PHOTOMETRIC: dict[str, Callable[..., np.ndarray]] = {
    "Identity": identity,
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Brightness": brightness,
    "Sharpness": sharpness,
}
ENHANCING = ("Brightness", "Sharpness")  # take a factor
GEOMETRIC: dict[str, tuple[Callable[[float, int, int], np.ndarray], float]] = {
    "ShearX": (shear_x, SHEAR),
    "ShearY": (shear_y, SHEAR),
    "TranslateX": (translate_x, SHIFT),
    "TranslateY": (translate_y, SHIFT),
    "Rotate": (rotate, ANGLE),
}
OPERATIONS = (*PHOTOMETRIC, *GEOMETRIC)
