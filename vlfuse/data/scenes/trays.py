"""Three trays side by side with loose things or towers of blocks, after the pictures of NLVR (Suhr et al. 2017).

Lengths and positions are fractions of the side of a tray, which is the height of the picture.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlfuse.data.scenes.draw import paste, pixel_box
from vlfuse.data.scenes.world import CHECKSUMS, Thing, pick
from vlfuse.types import Box

TRAYS = 3
STEP = 1.5  # from the left of a tray to that of the next
WIDTH = STEP * (TRAYS - 1) + 1.0  # of the picture, whose height is 1
COLOURS = {"black": (8, 8, 8), "blue": (0, 153, 255), "yellow": (255, 255, 0)}
SHAPES = ("circle", "square", "triangle")
EXTENTS = {"small": 0.1, "medium": 0.2, "big": 0.3}
BLOCK, BETWEEN_BLOCKS = 0.2, 0.01  # as in NLVR; drawn as a pixel at least, or blocks of one colour would be one
HIGHEST, MOST = 4, 7  # blocks of a tower, loose things of a tray
GAP = 0.02  # at least, between two things of a tray and to an edge that is not touched: a pixel at a side of 64
AT_EDGE, IN_CORNER = 0.4, 0.1  # share of loose things that touch an edge of their tray, and of those a corner
TOWERS = 0.6  # share of pictures
GROUND, BETWEEN = 211, 128  # greys of the trays and of what lies between them

Tray = tuple[Thing, ...]
"""Of a tower: its blocks from the base to the top."""


class Trays(NamedTuple):
    trays: tuple[Tray, ...]
    towers: bool


def sample_trays(rng: random.Random, split: str, towers: bool) -> Trays | None:
    """Trays that belong to `split`, or None where the first ones drawn do not: no set of things of one split is in another."""
    colours = tuple(COLOURS) if rng.random() < 0.7 else tuple(rng.sample(tuple(COLOURS), 2))
    if towers:
        trays = tuple([_tower(rng, colours) for _ in range(TRAYS)])
    else:
        shapes = SHAPES if rng.random() < 0.7 else rng.sample(SHAPES, 1 + int(rng.random() * 2))
        most = 1 + int(rng.random() * MOST)
        trays = tuple([_loose(rng, colours, shapes, most) for _ in range(TRAYS)])
    return Trays(trays, towers) if split_of(trays) == split else None


def split_of(trays: tuple[Tray, ...]) -> str:
    kinds = sorted(sorted((thing.size, thing.colour, thing.shape) for thing in tray) for tray in trays)
    checksum = zlib.crc32(repr(kinds).encode()) % 10
    return next(split for split, own in CHECKSUMS.items() if checksum in own)


def _tower(rng: random.Random, colours: tuple[str, ...]) -> Tray:
    step = BLOCK + BETWEEN_BLOCKS
    return tuple(
        [
            Thing("medium", "solid", pick(rng, colours), "square", 0.5, 1 - BLOCK / 2 - k * step, BLOCK, BLOCK)
            for k in range(1 + int(rng.random() * HIGHEST))
        ]
    )


def _loose(rng: random.Random, colours: tuple[str, ...], shapes: Sequence[str], most: int) -> Tray:
    """1 to `most` things, or as many of them as find room."""
    things: list[Thing] = []
    for _ in range(1 + int(rng.random() * most)):
        size = pick(rng, tuple(EXTENTS))
        extent = EXTENTS[size]
        half = extent / 2
        low, high = half, 1 - half
        room = high - low - 2 * GAP
        for _ in range(10):
            x, y = low + GAP + room * rng.random(), low + GAP + room * rng.random()
            if rng.random() < AT_EDGE:
                x, y = pick(rng, ((low, y), (high, y), (x, low), (x, high)))
                x, y = (pick(rng, (low, high)), pick(rng, (low, high))) if rng.random() < IN_CORNER else (x, y)
            if all(max(abs(x - t.x) - t.width / 2, abs(y - t.y) - t.height / 2) >= half + GAP for t in things):
                things.append(Thing(size, "solid", pick(rng, colours), pick(rng, shapes), x, y, extent, extent))
                break
    return tuple(things)


def draw_trays(trays: Trays, side: int) -> np.ndarray:
    """A fresh [side, 4 * side, 3] uint8 picture."""
    picture = np.full((side, round(WIDTH * side), 3), BETWEEN, np.uint8)
    for number, tray in enumerate(trays.trays):
        ground = picture[:, _start(number, side) :][:, :side]
        ground[...] = GROUND
        for place, thing in enumerate(tray):
            paste(ground, thing, _pixels(trays.towers, place, thing, side), COLOURS[thing.colour])
    return picture


def boxes_of(trays: Trays, side: int) -> list[Box]:
    """Of the things, in pixels, tray by tray."""
    boxes = []
    for number, tray in enumerate(trays.trays):
        start = _start(number, side)
        for place, thing in enumerate(tray):
            x0, y0, x1, y1 = _pixels(trays.towers, place, thing, side)
            boxes.append((float(start + x0), float(y0), float(start + x1), float(y1)))
    return boxes


def tray_boxes(side: int) -> list[Box]:
    """Of the trays themselves."""
    starts = [_start(number, side) for number in range(TRAYS)]
    return [(float(start), 0.0, float(start + side), float(side)) for start in starts]


def _start(number: int, side: int) -> int:
    return round(STEP * number * side)


def _pixels(tower: bool, place: int, thing: Thing, side: int) -> tuple[int, int, int, int]:
    """Those of a thing in its tray."""
    x0, y0, x1, y1 = pixel_box(thing, side)
    if tower:
        between = max(1, round(BETWEEN_BLOCKS * side))
        base = side - place * (y1 - y0 + between)
        return (x0, base - (y1 - y0), x1, base)
    over_x, over_y = max(0, x1 - side), max(0, y1 - side)  # at some sizes, rounding moves what touches an edge over it
    return (x0 - over_x, y0 - over_y, x1 - over_x, y1 - over_y)
