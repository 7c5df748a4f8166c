"""Drawing scenes: antialiased sprites and backgrounds are made once, kept, and pasted.

Pictures are [side, side, 3] uint8.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from vlfuse.data.scenes.world import Scene, Thing
from vlfuse.types import Box

INK = {
    "red": (222, 30, 38),
    "green": (40, 165, 50),
    "blue": (35, 75, 225),
    "yellow": (245, 195, 0),
    "purple": (150, 40, 190),
    "teal": (0, 165, 165),
    "brown": (125, 70, 25),
    "black": (15, 15, 18),
}
CURTAIN = (128, 130, 136)
BACKGROUNDS = 128  # distinct ones kept for each side; mirrored they make four times as many
FINE = 8  # sprites are drawn this many times larger, then averaged down


def pixel_box(thing: Thing, side: int) -> tuple[int, int, int, int]:
    """The [x0, y0, x1, y1] pixels that hold the thing's sprite; the sprite touches all four sides."""
    width, height = round(thing.width * side), round(thing.height * side)
    x0, y0 = round((thing.x - thing.width / 2) * side), round((thing.y - thing.height / 2) * side)
    return (x0, y0, x0 + width, y0 + height)


def box_of(thing: Thing, side: int) -> Box:
    x0, y0, x1, y1 = pixel_box(thing, side)
    return (float(x0), float(y0), float(x1), float(y1))


def draw_scene(scene: Scene, side: int) -> np.ndarray:
    """The picture of a scene, a fresh [side, side, 3] uint8 array."""
    picture = _background(scene.background % BACKGROUNDS, side)
    turn = scene.background // BACKGROUNDS
    if turn & 1:
        picture = picture[::-1]
    if turn & 2:
        picture = picture[:, ::-1]
    picture = picture.copy(order="C")
    if scene.curtain is not None:
        x0, y0, x1, y1 = (round(value * side) for value in scene.curtain)
        picture[y0:y1, x0:x1] = _folds(side)[y0:y1, x0:x1]
    for thing in scene.things:
        paste(picture, thing, pixel_box(thing, side), INK[thing.colour])
    return picture


def paste(picture: np.ndarray, thing: Thing, box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    """Draw a thing into the pixels `box` of a picture."""
    x0, y0, x1, y1 = box
    ink, ground = _sprite(thing.pattern, thing.shape, colour, x1 - x0, y1 - y0)
    patch = picture[y0:y1, x0:x1]
    blended = patch * ground
    blended += ink
    patch[...] = blended >> 8


# --- sprites --------------------------------------------------------------------------------------------------


@cache
def _sprite(
    pattern: str, shape: str, colour: tuple[int, int, int], width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """A thing as (ink, ground), uint16 [height, width, 3] and [height, width, 1]:
    picture * ground + ink is 256-fold."""
    rim = max(1.0, 0.06 * max(width, height))  # a plain rim keeps the outline of a patterned thing whole
    whole = _mask(shape, width, height, 0)
    cover = np.asarray(whole.reduce(FINE), np.float32) / 255
    light = np.zeros_like(cover)
    if pattern != "solid":
        marks = _marks(pattern, shape, width, height)
        inner = _mask(shape, width, height, rim)
        light = np.asarray(Image.composite(marks, Image.new("L", marks.size), inner).reduce(FINE), np.float32) / 255
    ink = (cover - light)[..., None] * np.array(colour, np.float32) + light[..., None] * 255
    ground = np.round(256 * (1 - cover))
    return np.round(256 * ink).clip(0, 65280).astype(np.uint16), ground[..., None].astype(np.uint16)


def _mask(shape: str, width: int, height: int, rim: float) -> Image.Image:
    """The shape filling width x height pixels, less `rim` pixels all round, FINE times larger."""
    w, h, r = width * FINE, height * FINE, rim * FINE
    mask = Image.new("L", (w, h))
    pen = ImageDraw.Draw(mask)
    if shape == "circle":
        pen.ellipse((r, r, w - 1 - r, h - 1 - r), fill=255)
    elif shape in ("square", "rectangle"):
        pen.rectangle((r, r, w - 1 - r, h - 1 - r), fill=255)
    elif shape == "cross":
        a, b = 0.3, 0.7
        pen.rectangle((a * w + r / 2, r, b * w - 1 - r / 2, h - 1 - r), fill=255)
        pen.rectangle((r, a * h + r / 2, w - 1 - r, b * h - 1 - r / 2), fill=255)
    else:
        pen.polygon(_corners(shape, w, h, r), fill=255)
    return mask


def _corners(shape: str, w: int, h: int, rim: float) -> list[tuple[float, float]]:
    if shape == "triangle":
        return [(w / 2, 2.2 * rim), (w - 1 - 1.7 * rim, h - 1 - rim), (1.7 * rim, h - 1 - rim)]
    rays = [math.pi * (0.2 * k - 0.5) for k in range(10)]
    star = [
        ((1.0 if k % 2 == 0 else 0.52) * math.cos(a), (1.0 if k % 2 == 0 else 0.52) * math.sin(a))
        for k, a in enumerate(rays)
    ]
    xs, ys = [x for x, _ in star], [y for _, y in star]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    keep = 1 - 2.6 * rim / w
    corners = [((x - left) / (right - left) * (w - 1), (y - top) / (bottom - top) * (h - 1)) for x, y in star]
    middle = ((w - 1) / 2, 0.54 * (h - 1))
    return [(middle[0] + keep * (x - middle[0]), middle[1] + keep * (y - middle[1])) for x, y in corners]


def _marks(pattern: str, shape: str, width: int, height: int) -> Image.Image:
    """White stripes or dots over the whole box. Steps are whole pixels and at least 4,
    or they would blur at 64 pixels."""
    step = max(4, round(max(width, height) / 4.5)) * FINE
    w, h = width * FINE, height * FINE
    marks = Image.new("L", (w, h))
    pen = ImageDraw.Draw(marks)
    count = range(-3, 4)
    if pattern == "dotted":  # one dot in the middle, so that the narrowest shapes still show some
        x, y, radius = w / 2, h * (0.62 if shape == "triangle" else 0.54 if shape == "star" else 0.5), 0.3 * step
        for dx, dy in ((dx, dy) for dx in count for dy in count):
            a, b = x + dx * step, y + dy * step
            pen.ellipse((a - radius, b - radius, a + radius - 1, b + radius - 1), fill=255)
    elif width > height:
        for k in count:
            pen.rectangle((w / 2 + (k - 0.25) * step, 0, w / 2 + (k + 0.25) * step - 1, h), fill=255)
    else:
        for k in count:
            pen.rectangle((0, h / 2 + (k - 0.25) * step, w, h / 2 + (k + 0.25) * step - 1), fill=255)
    return marks


# --- backgrounds ----------------------------------------------------------------------------------------------


@cache
def _background(number: int, side: int) -> np.ndarray:
    """One of BACKGROUNDS grounds: plain, gradient, noise or soft blotches, all light enough for every colour."""
    rng = np.random.default_rng(number)
    low, high = (rng.uniform(205, 245, (2, 1)) + rng.uniform(-14, 14, (2, 3))).astype(np.float32)
    style = number % 4
    if style == 0:
        ground = np.broadcast_to(low, (side, side, 3))
    elif style == 1:
        angle = rng.uniform(0, 2 * math.pi)
        y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
        weight = (0.5 + (x * math.cos(angle) + y * math.sin(angle)) / 1.42)[..., None]
        ground = low + (high - low) * weight
    elif style == 2:
        grain = rng.normal(0, 7, (side, side, 1)) + rng.normal(0, 3, (side, side, 3))
        ground = low + grain
    else:
        coarse = Image.fromarray(rng.uniform(0, 255, (5, 5)).astype(np.uint8))
        weight = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
        ground = low + (high - low) * weight + 12 * (weight - 0.5)
    return ground.clip(185, 255).astype(np.uint8)


@cache
def _folds(side: int) -> np.ndarray:
    """The curtain's cloth: grey with upright folds, unlike any thing or ground."""
    waves = 14 * np.sin(np.arange(side) / side * 2 * math.pi * 14)[None, :, None]
    return np.broadcast_to(np.array(CURTAIN) + waves, (side, side, 3)).clip(0, 255).astype(np.uint8)
