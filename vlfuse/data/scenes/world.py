"""The world of generated scenes: what can be in a picture, where, and in which split.

Lengths and positions are fractions of the picture's side, so that one scene can be drawn at any size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import NamedTuple, TypeVar

SIZES = ("small", "large")
PATTERNS = ("solid", "striped", "dotted")
COLOURS = ("red", "green", "blue", "yellow", "purple", "teal", "brown", "black")
SHAPES = ("circle", "square", "triangle", "rectangle", "star", "cross")
ATTRIBUTES = (SIZES, PATTERNS, COLOURS, SHAPES)
SIZE, PATTERN, COLOUR, SHAPE = range(4)  # positions in a Thing, and the order of the words in a phrase

SPLITS = ("train", "val", "test", "novel")
HELD_OUT = frozenset(
    [
        ("purple", "circle"),
        ("green", "square"),
        ("red", "star"),
        ("teal", "star"),
        ("blue", "cross"),
        ("brown", "cross"),
    ]
)
"""Combinations of colour and shape that only the split "novel" shows or mentions."""

EXTENTS = {"small": (0.15, 0.16, 0.17), "large": (0.27, 0.285, 0.3)}  # no small thing comes near a large one
RECTANGLE = 0.55  # short side of a rectangle over its long side
GAP = 0.03  # clear ground between the boxes of any two things
EDGE = 0.015  # clear ground to the border of the picture
MARGIN = 0.12  # centres must differ by this for left/right/above/below to be said or denied
CELL_MARGIN = 0.02  # centres keep this distance from the borders between the nine places
MOST_OF_A_SIZE = 3  # more large things find no room; the same bound for small ones keeps the two sizes as common
MOST_THINGS = 6

PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")

T = TypeVar("T")
Spec = tuple[int, ...]
"""Which attributes a phrase names, in the order of its words: (COLOUR, SHAPE) for "red circle"."""


class Thing(NamedTuple):
    """One object; the first four fields are its attributes. A tuple, because thousands are made each second."""

    size: str
    pattern: str
    colour: str
    shape: str
    x: float
    y: float
    width: float
    height: float

    def value(self, attribute: int) -> str:
        return self[attribute]  # type: ignore[return-value]  # the first four fields are words

    @property
    def place(self) -> str:
        return PLACES[3 * _third(self.y) + _third(self.x)]


class Scene(NamedTuple):
    """`curtain` is an opaque panel [x0, y0, x1, y1] behind which anything may be; things never touch it."""

    things: tuple[Thing, ...]
    background: int
    curtain: tuple[float, float, float, float] | None = None


class Theme(NamedTuple):
    """The attribute values a scene draws from: narrow ones make things alike, hence counts above one."""

    patterns: Sequence[str]
    colours: Sequence[str]
    shapes: Sequence[str]


Kind = tuple[str, str, str, str]


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """`rng.choice` at a third of its cost."""
    return items[int(rng.random() * len(items))]


@cache
def getter(spec: Spec) -> Callable[[Thing], tuple[str, ...]]:
    """The function from a thing to its values at `spec`, always a tuple."""
    if len(spec) == 1:
        only = itemgetter(spec[0])
        return lambda thing: (only(thing),)
    return itemgetter(*spec) if spec else lambda thing: ()


def is_held_out(spec: Spec, values: tuple[str, ...]) -> bool:
    return spec[-2:] == (COLOUR, SHAPE) and values[-2:] in HELD_OUT


# --- sampling ------------------------------------------------------------------------------------------------


def _shares() -> dict[Kind, int]:
    kinds = [(s, p, c, f) for s in SIZES for p in PATTERNS for c in COLOURS for f in SHAPES]
    rng = random.Random("the share of each kind in the checksum of a scene")
    return {kind: rng.randrange(10) for kind in kinds}


_SHARE = _shares()
CHECKSUMS = {"train": range(8), "val": range(8, 9), "test": range(9, 10), "novel": range(10)}


def split_of(scene: Scene) -> str:
    """The one split that may hold a scene with these things, wherever they lie.

    "novel" holds the scenes with a held-out combination; the others share the rest out by a checksum of the things'
    attributes, so that no set of things of one split ever appears in another.
    """
    if any((thing.colour, thing.shape) in HELD_OUT for thing in scene.things):
        return "novel"
    checksum = sum(_SHARE[thing[:4]] for thing in scene.things) % 10
    return next(split for split in SPLITS if checksum in CHECKSUMS[split])


def sample_theme(rng: random.Random) -> Theme:
    """Half of the themes are free; the others allow only a few colours, shapes or patterns."""
    if rng.random() < 0.4:
        return Theme(PATTERNS, COLOURS, SHAPES)
    patterns, colours, shapes = PATTERNS, COLOURS, SHAPES
    while True:
        if rng.random() < 0.5:
            patterns = rng.sample(PATTERNS, 1 + int(rng.random() * 2))
        if rng.random() < 0.7:
            colours = rng.sample(COLOURS, 1 + int(rng.random() * 3))
        if rng.random() < 0.7:
            shapes = rng.sample(SHAPES, 1 + int(rng.random() * 3))
        if any((colour, shape) not in HELD_OUT for colour in colours for shape in shapes):
            return Theme(patterns, colours, shapes)


def sample_kind(rng: random.Random, theme: Theme, novel: bool) -> Kind:
    """The four attributes of one thing; in the split "novel", half of the things are held-out combinations."""
    size, pattern = pick(rng, SIZES), pick(rng, theme.patterns)
    if novel and rng.random() < 0.5:
        return (size, pattern, *pick(rng, _HELD_OUT_LIST))
    while True:
        pair = (pick(rng, theme.colours), pick(rng, theme.shapes))
        if pair not in HELD_OUT:
            return (size, pattern, *pair)


_HELD_OUT_LIST = sorted(HELD_OUT)


def sample_scene(
    rng: random.Random, split: str, theme: Theme | None = None, curtain: bool = False, most: int = MOST_THINGS
) -> Scene:
    """A scene of 2 to `most` things that belongs to `split`."""
    theme = theme or sample_theme(rng)
    background = int(rng.random() * 1_000_000)
    while True:
        kinds = _sample_kinds(rng, theme, split, most=min(4, most) if curtain else most)
        panel = _sample_curtain(rng) if curtain else None
        things = _arrange(rng, kinds, panel)
        if things is not None:
            return Scene(things, background, panel)


def _sample_kinds(rng: random.Random, theme: Theme, split: str, most: int) -> list[Kind]:
    number, novel, allowed = 2 + int(rng.random() * (most - 1)), split == "novel", CHECKSUMS[split]
    attempts = 0
    while True:
        kinds, large = [], 0
        while len(kinds) < number:
            kind = sample_kind(rng, theme, novel)
            if large == MOST_OF_A_SIZE:
                kind = ("small", *kind[1:])
            elif len(kinds) - large == MOST_OF_A_SIZE:
                kind = ("large", *kind[1:])
            large += kind[SIZE] == "large"
            kinds.append(kind)
        if novel:
            if any(kind[2:] in HELD_OUT for kind in kinds):
                return kinds
        elif sum([_SHARE[kind] for kind in kinds]) % 10 in allowed:
            return kinds
        attempts += 1
        if attempts == 12:  # a narrow theme may hold no set of things of this split
            theme, attempts = sample_theme(rng), 0


def _sample_curtain(rng: random.Random) -> tuple[float, float, float, float]:
    width, height = 0.34 + 0.12 * rng.random(), 0.34 + 0.12 * rng.random()
    x, y = (1 - width) * rng.random(), (1 - height) * rng.random()
    return (x, y, x + width, y + height)


def _arrange(rng: random.Random, kinds: list[Kind], curtain) -> tuple[Thing, ...] | None:
    """Random places without overlap, or None where the things found no room. Large things go first, then shuffle."""
    taken = [] if curtain is None else [curtain]
    things = []
    random_ = rng.random
    for kind in sorted(kinds):  # "large" sorts before "small"
        width = height = EXTENTS[kind[SIZE]][int(random_() * 3)]
        if kind[SHAPE] == "rectangle":
            if random_() < 0.5:
                height = width * RECTANGLE
            else:
                width = height * RECTANGLE
        half_w, half_h = width / 2 + EDGE, height / 2 + EDGE
        reach_w, reach_h = width / 2 + GAP, height / 2 + GAP
        for _ in range(40):
            x = half_w + (1 - 2 * half_w) * random_()
            y = half_h + (1 - 2 * half_h) * random_()
            if _near_border(x) or _near_border(y):
                continue
            for x0, y0, x1, y1 in taken:
                if x - reach_w < x1 and x + reach_w > x0 and y - reach_h < y1 and y + reach_h > y0:
                    break
            else:
                taken.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
                things.append(Thing(*kind, x, y, width, height))
                break
        else:
            return None
    rng.shuffle(things)
    return tuple(things)


def _near_border(position: float) -> bool:
    return abs(position - 1 / 3) < CELL_MARGIN or abs(position - 2 / 3) < CELL_MARGIN


def _third(position: float) -> int:
    return 0 if position < 1 / 3 else 1 if position < 2 / 3 else 2


# --- relations -----------------------------------------------------------------------------------------------

RELATIONS = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def relation_holds(relation: str, a: Thing, b: Thing) -> bool | None:
    """Whether `a` lies left of (right of, above, below) `b`; None where it is too close to call."""
    if relation == "left":
        distance = b.x - a.x
    elif relation == "right":
        distance = a.x - b.x
    elif relation == "above":
        distance = b.y - a.y
    else:
        distance = a.y - b.y
    return True if distance > MARGIN else False if distance < -MARGIN else None


class View:
    """A scene with its things grouped by what they look like; groups are made when first asked for."""

    __slots__ = ("_groups", "novel", "scene", "things")

    def __init__(self, scene: Scene, novel: bool = False):
        self.scene, self.things, self.novel = scene, scene.things, novel
        self._groups: dict[Spec, dict[tuple[str, ...], list[int]]] = {}

    def groups(self, spec: Spec) -> dict[tuple[str, ...], list[int]]:
        """From each combination of values at `spec` to the indices of the things that have it."""
        groups = self._groups.get(spec)
        if groups is None:
            groups = self._groups[spec] = {}
            get = getter(spec)
            for index, thing in enumerate(self.things):
                values = get(thing)
                if values in groups:
                    groups[values].append(index)
                else:
                    groups[values] = [index]
        return groups
