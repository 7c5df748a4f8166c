"""Claims of trays with loose things: how many there are, of which colours and shapes, and which edges they touch."""

from __future__ import annotations

import random

from vlfuse.data.scenes.claims import Claim, Clause, Of, amount, count, hued, more, quantified, total
from vlfuse.data.scenes.language import a, figure, plural
from vlfuse.data.scenes.trays import COLOURS, SHAPES
from vlfuse.data.scenes.world import Thing, pick

NEAR = 0.005  # of an edge: touching it
TRAY_WORDS = ("box", "box", "box", "grey square")
ITEMS = ("item", "item", "object")


def _described(rng: random.Random) -> tuple[str, Of]:
    """ "yellow item", "triangle", "blue circle" or "item"."""
    choice = rng.random()
    colour, shape = pick(rng, tuple(COLOURS)), pick(rng, SHAPES)
    if choice < 0.4:
        return f"{colour} {pick(rng, ITEMS)}", lambda thing: thing.colour == colour
    if choice < 0.6:
        return shape, lambda thing: thing.shape == shape
    if choice < 0.9:
        return f"{colour} {shape}", lambda thing: thing.colour == colour and thing.shape == shape
    return pick(rng, ITEMS), lambda thing: True


EDGES: tuple[tuple[tuple[str, ...], Of], ...] = (
    (("the edge", "the wall", "an edge", "the side"), lambda t: _left(t) or _right(t) or _top(t) or _base(t)),
    (("the base", "the bottom", "the bottom of a box"), lambda t: _base(t)),
    (("the top", "the top edge"), lambda t: _top(t)),
    (("the right wall", "the right edge", "the right side"), lambda t: _right(t)),
    (("the left wall", "the left edge", "the left side"), lambda t: _left(t)),
    (("a corner", "the corner", "a corner of a box"), lambda t: (_left(t) or _right(t)) and (_top(t) or _base(t))),
)
ANY_EDGE = EDGES[0][1]
CLOSELY = ("touching", "touching", "closely touching")


def _left(thing: Thing) -> bool:
    return thing.x - thing.width / 2 < NEAR


def _right(thing: Thing) -> bool:
    return thing.x + thing.width / 2 > 1 - NEAR


def _top(thing: Thing) -> bool:
    return thing.y - thing.height / 2 < NEAR


def _base(thing: Thing) -> bool:
    return thing.y + thing.height / 2 > 1 - NEAR


def _counted(rng: random.Random) -> Claim:
    words, of = _described(rng)
    number = amount(rng, 4)
    return Claim(f"{number.there} {number.of(words)}", lambda trays: number.holds(total(trays, of)))


def _touching(rng: random.Random) -> Claim:
    words, of = _described(rng)
    number = amount(rng, 3)
    choice = rng.random()
    if choice < 0.2:
        free = pick(rng, ("not touching any edge", "not touching the edge", "not touching the wall"))
        return Claim(
            f"{number.there} {number.of(words)} {free}",
            lambda trays: number.holds(total(trays, lambda t: of(t) and not ANY_EDGE(t))),
        )
    edge, near = pick(rng, EDGES)
    where = f"{pick(rng, CLOSELY)} {pick(rng, edge)}"
    if choice < 0.3:
        return Claim(f"there is no {words} {where}", lambda trays: not total(trays, lambda t: of(t) and near(t)))
    return Claim(
        f"{number.there} {number.of(words)} {where}",
        lambda trays: number.holds(total(trays, lambda t: of(t) and near(t))),
    )


def loose_clause(rng: random.Random) -> Clause:
    choice = rng.random()
    words, of = _described(rng)
    number = amount(rng, 3)
    if choice < 0.35:
        return Clause(number.of(words), lambda tray: number.holds(count(tray, of)))
    if choice < 0.5:
        other, of_other = _described(rng)
        more = amount(rng, 2)
        return Clause(
            f"{number.of(words)} and {more.of(other)}",
            lambda tray: number.holds(count(tray, of)) and more.holds(count(tray, of_other)),
        )
    if choice < 0.6:
        edge, near = pick(rng, EDGES)
        return Clause(
            f"{a(words)} {pick(rng, CLOSELY)} {pick(rng, edge)}",
            lambda tray: any(of(t) and near(t) for t in tray),
        )
    if choice < 0.7:
        size = 2 + int(rng.random() * 4)
        said = figure(rng, size, 0.5)
        return Clause(
            f"{said} {plural(pick(rng, ITEMS))} and {number.of(words)}",
            lambda tray: len(tray) == size and number.holds(count(tray, of)),
        )
    return hued(rng, pick(rng, ITEMS))


def _boxed(rng: random.Random) -> Claim:
    return quantified(rng, pick(rng, TRAY_WORDS), loose_clause(rng))


def _all(rng: random.Random) -> Claim:
    words, of = _described(rng)
    edge, near = pick(rng, EDGES[:2])
    if rng.random() < 0.5:
        return Claim(
            f"all {plural(words)} are touching {pick(rng, edge)}",
            lambda trays: total(trays, of) == total(trays, lambda t: of(t) and near(t)) > 0,
        )
    shape, colour = pick(rng, SHAPES), pick(rng, tuple(COLOURS))
    return Claim(
        f"all {plural(shape)} are {colour}",
        lambda trays: {t.colour for tray in trays for t in tray if t.shape == shape} == {colour},
    )


LOOSE_CLAIMS = (_counted, _touching, _touching, _touching, _boxed, _boxed, _boxed, _boxed, _boxed, _all, more(lambda rng: pick(rng, ITEMS)))  # fmt: skip
