"""True/false statements about trays, worded as people word them of such pictures.

The statement and its label are drawn first, and then trays of which it is true or false: words alone tell nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from vlfuse.data.scenes.language import NUMBERS, a
from vlfuse.data.scenes.trays import COLOURS, HIGHEST, SHAPES, TOWERS, TRAYS, Tray, Trays, sample_trays
from vlfuse.data.scenes.world import Thing, pick

TRIES = 400  # trays drawn for a set of statements before others are taken
NEAR = 0.005  # of an edge: touching it
TRAY_WORDS = ("box", "box", "box", "grey square")
ITEMS = ("item", "item", "object")

Of = Callable[[Thing], bool]


class Claim(NamedTuple):
    text: str
    holds: Callable[[Sequence[Tray]], bool]


class Clause(NamedTuple):
    """What one tray has, to be said behind "with"."""

    text: str
    holds: Callable[[Tray], bool]


class Amount(NamedTuple):
    text: str
    holds: Callable[[int], bool]
    plural: bool

    def of(self, words: str) -> str:
        return a(words) if self.text == "a" else f"{self.text} {many(words) if self.plural else words}"

    @property
    def there(self) -> str:
        return "there are" if self.plural else "there is"


def stated(rng: random.Random, split: str, number: int) -> tuple[Trays, list[tuple[str, str]]]:
    """Trays of a split and `number` statements about them with "true" or "false"."""
    while True:
        towers = rng.random() < TOWERS
        families = TOWER_CLAIMS if towers else LOOSE_CLAIMS
        claims = [pick(rng, families)(rng) for _ in range(number)]
        labels = [rng.random() < 0.5 for _ in claims]
        if len({claim.text for claim in claims}) < number:
            continue
        for _ in range(TRIES):
            trays = sample_trays(rng, split, towers)
            if trays and all(c.holds(trays.trays) == label for c, label in zip(claims, labels, strict=True)):
                said = [(c.text, "true" if label else "false") for c, label in zip(claims, labels, strict=True)]
                return trays, said


# --- words ---------------------------------------------------------------------------------------------------


def many(words: str) -> str:
    return words + ("es" if words.endswith("x") else "s")


def amount(rng: random.Random, most: int) -> Amount:
    """ "a" (or more), "exactly two", "at least 3" ..., never of more than `most`. A bare number is exact."""
    if rng.random() < 0.3:
        return Amount("a", lambda count: count > 0, False)
    number = 1 + int(rng.random() * most)
    figure = str(number) if rng.random() < 0.4 else NUMBERS[number]
    bound = pick(rng, ("", "", "exactly", "exactly", "only", "at least"))
    if bound == "at least":
        return Amount(f"at least {figure}", lambda count: count >= number, number > 1)
    return Amount(f"{bound} {figure}".lstrip(), lambda count: count == number, number > 1)


def _colours(rng: random.Random, number: int) -> list[str]:
    return rng.sample(tuple(COLOURS), number)


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


def count(tray: Tray, of: Of) -> int:
    return sum(map(of, tray))


def total(trays: Sequence[Tray], of: Of) -> int:
    return sum(count(tray, of) for tray in trays)


# --- of loose things -----------------------------------------------------------------------------------------


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


def _loose_clause(rng: random.Random) -> Clause:
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
        figure = str(size) if rng.random() < 0.5 else NUMBERS[size]
        return Clause(
            f"{figure} {many(pick(rng, ITEMS))} and {number.of(words)}",
            lambda tray: len(tray) == size and number.holds(count(tray, of)),
        )
    return _hued(rng, pick(rng, ITEMS))


def _hued(rng: random.Random, noun: str) -> Clause:
    """Which colours a tray or tower has."""
    one, two = _colours(rng, 2)
    nouns = many(noun)
    return pick(
        rng,
        (
            Clause(
                pick(rng, (f"only {one} {nouns}", f"{nouns} of only {one} color", f"all {nouns} {one}")),
                lambda tray: all(t.colour == one for t in tray),
            ),
            Clause(
                pick(rng, (f"only {one} and {two} {nouns}", f"{nouns} of only {one} and {two} color")),
                lambda tray: {t.colour for t in tray} == {one, two},
            ),
            Clause(
                pick(rng, (f"{nouns} of all 3 different colors", f"{nouns} of all three colors")),
                lambda tray: len({t.colour for t in tray}) == 3,
            ),
            Clause(
                pick(rng, (f"{nouns} of exactly two colors", f"{nouns} of 2 different colors")),
                lambda tray: len({t.colour for t in tray}) == 2,
            ),
            Clause(
                pick(rng, (f"all {nouns} of the same color", f"{nouns} of one color only")),
                lambda tray: len({t.colour for t in tray}) == 1,
            ),
            Clause(f"no {one} {nouns}", lambda tray: all(t.colour != one for t in tray)),
        ),
    )


def _boxed(rng: random.Random) -> Claim:
    return quantified(rng, pick(rng, TRAY_WORDS), _loose_clause(rng))


def quantified(rng: random.Random, noun: str, clause: Clause) -> Claim:
    """How many of the trays have what a clause says."""
    text, holds = clause
    choice = rng.random()
    if choice < 0.7:
        number = amount(rng, TRAYS - 1)
        said = pick(rng, ("with", "with", "with", "that has" if not number.plural else "that have", "containing"))
        return Claim(
            f"{number.there} {number.of(noun)} {said} {text}",
            lambda trays: number.holds(sum(map(holds, trays))),
        )
    if choice < 0.75:
        form = pick(rng, (f"one of the {many(noun)} has {text}", f"one {noun} has {text}"))
        return Claim(form, lambda trays: any(map(holds, trays)))
    if choice < 0.82:
        form = pick(rng, (f"two of the {many(noun)} have {text}", f"two {many(noun)} have {text}"))
        return Claim(form, lambda trays: sum(map(holds, trays)) == 2)
    if choice < 0.94:
        form = pick(rng, (f"each {noun} has {text}", f"all {many(noun)} have {text}", f"every {noun} has {text}"))
        return Claim(form, lambda trays: all(map(holds, trays)))
    form = pick(rng, (f"there is no {noun} with {text}", f"none of the {many(noun)} has {text}"))
    return Claim(form, lambda trays: not any(map(holds, trays)))


def _all_touch(rng: random.Random) -> Claim:
    words, of = _described(rng)
    edge, near = pick(rng, EDGES[:2])
    if rng.random() < 0.5:
        return Claim(
            f"all {many(words)} are touching {pick(rng, edge)}",
            lambda trays: total(trays, of) == total(trays, lambda t: of(t) and near(t)) > 0,
        )
    shape, colour = pick(rng, SHAPES), pick(rng, tuple(COLOURS))
    return Claim(
        f"all {many(shape)} are {colour}",
        lambda trays: {t.colour for tray in trays for t in tray if t.shape == shape} == {colour},
    )


def _more(noun: Callable[[random.Random], str]) -> Callable[[random.Random], Claim]:
    def made(rng: random.Random) -> Claim:
        one, two = _colours(rng, 2)
        what = many(noun(rng))
        return Claim(
            f"there are more {one} {what} than {two} {what}",
            lambda trays: total(trays, lambda t: t.colour == one) > total(trays, lambda t: t.colour == two),
        )

    return made


# --- of towers -----------------------------------------------------------------------------------------------

AT_TOP = ("at the top", "at the top", "on top", "as the top")
AT_BASE = ("at the base", "at the base", "at the bottom", "as the base")
OVER = ("over", "above", "on", "on top of")
UNDER = ("below", "under")


def _end(rng: random.Random) -> Clause:
    colour = pick(rng, tuple(COLOURS))
    if rng.random() < 0.5:
        return Clause(f"a {colour} block {pick(rng, AT_TOP)}", lambda tray: tray[-1].colour == colour)
    return Clause(f"a {colour} block {pick(rng, AT_BASE)}", lambda tray: tray[0].colour == colour)


def _stacked(rng: random.Random) -> Clause:
    one, two = (pick(rng, tuple(COLOURS)) for _ in range(2))
    if rng.random() < 0.6:
        upper, lower, said = one, two, pick(rng, OVER)
    else:
        upper, lower, said = two, one, pick(rng, UNDER)
    return Clause(
        f"a {one} block {said} a {two} block",
        lambda tray: any(x.colour == lower and y.colour == upper for x, y in pairwise(tray)),
    )


def _height(rng: random.Random) -> Clause:
    number = 1 + int(rng.random() * HIGHEST)
    figure = str(number) if rng.random() < 0.4 else NUMBERS[number]
    noun = "blocks" if number > 1 else "block"
    bound = pick(rng, ("", "exactly ", "exactly ", "only ", "at least ", "more than "))
    if bound == "more than ":
        number = min(number, HIGHEST - 1)
        figure, noun = NUMBERS[number], "blocks" if number > 1 else "block"
        return Clause(f"more than {figure} {noun}", lambda tray: len(tray) > number)
    if bound == "at least ":
        number = max(number, 2)
        return Clause(f"at least {NUMBERS[number]} blocks", lambda tray: len(tray) >= number)
    return Clause(f"{bound}{figure} {noun}", lambda tray: len(tray) == number)


def _tower_clause(rng: random.Random) -> Clause:
    choice = rng.random()
    colour = pick(rng, tuple(COLOURS))
    if choice < 0.25:
        return _end(rng)
    if choice < 0.37:
        return _stacked(rng)
    if choice < 0.47:
        return _height(rng)
    if choice < 0.65:
        number = amount(rng, 3)
        return Clause(
            number.of(f"{colour} block"), lambda tray: number.holds(count(tray, lambda t: t.colour == colour))
        )
    if choice < 0.8:
        height, other = _height(rng), pick(rng, (_end, _stacked))(rng)
        joined = pick(rng, ("and", "having", "with"))
        return Clause(f"{height.text} {joined} {other.text}", lambda tray: height.holds(tray) and other.holds(tray))
    if choice < 0.85:
        place = 1 + int(rng.random() * (HIGHEST - 1))
        nth = ("second", "third", "fourth")[place - 1]
        if rng.random() < 0.5:
            return Clause(
                f"a {colour} block as the {nth} from the base",
                lambda tray: len(tray) > place and tray[place].colour == colour,
            )
        return Clause(
            f"a {colour} block as the {nth} from the top",
            lambda tray: len(tray) > place and tray[-1 - place].colour == colour,
        )
    return _hued(rng, "block")


def _towered(rng: random.Random) -> Claim:
    return quantified(rng, "tower", _tower_clause(rng))


def _blocks(rng: random.Random) -> Claim:
    colour, number = pick(rng, tuple(COLOURS)), amount(rng, 5)
    return Claim(
        f"{number.there} {number.of(f'{colour} block')}",
        lambda trays: number.holds(total(trays, lambda t: t.colour == colour)),
    )


def _as_end(rng: random.Random) -> Claim:
    """ "there is a black block as the base of a tower with exactly three blocks"."""
    colour, top = pick(rng, tuple(COLOURS)), rng.random() < 0.5
    end = -1 if top else 0
    words = f"there is a {colour} block as the {'top' if top else pick(rng, ('base', 'bottom'))} of a tower"
    if rng.random() < 0.4:
        return Claim(words, lambda trays: any(tray[end].colour == colour for tray in trays))
    height = _height(rng)
    return Claim(
        f"{words} with {height.text}",
        lambda trays: any(tray[end].colour == colour and height.holds(tray) for tray in trays),
    )


def _the_tower(rng: random.Random) -> Claim:
    """ "the tower with four blocks has a black block at the top"."""
    number, end = 1 + int(rng.random() * HIGHEST), _end(rng)
    figure = str(number) if rng.random() < 0.3 else NUMBERS[number]
    return Claim(
        f"the tower with {figure} {'blocks' if number > 1 else 'block'} has {end.text}",
        lambda trays: any(len(tray) == number and end.holds(tray) for tray in trays),
    )


def _anywhere(rng: random.Random) -> Claim:
    clause = _stacked(rng)
    if rng.random() < 0.2:
        return Claim(f"there is no{clause.text[1:]}", lambda trays: not any(map(clause.holds, trays)))
    return Claim(f"there is {clause.text}", lambda trays: any(map(clause.holds, trays)))


def _same_height(rng: random.Random) -> Claim:
    same = pick(rng, ("of the same height", "with the same height", "with the same number of blocks"))

    def alike(trays: Sequence[Tray]) -> int:
        heights = [len(tray) for tray in trays]
        return max(heights.count(height) for height in heights)

    if rng.random() < 0.5:
        return Claim(f"there are at least two towers {same}", lambda trays: alike(trays) >= 2)
    return Claim(f"there are exactly two towers {same}", lambda trays: alike(trays) == 2)


LOOSE_CLAIMS = (_counted, _touching, _touching, _touching, _boxed, _boxed, _boxed, _boxed, _boxed, _all_touch, _more(lambda rng: pick(rng, ITEMS)))  # fmt: skip
TOWER_CLAIMS = (_towered,) * 9 + (_blocks, _blocks, _as_end, _as_end, _the_tower, _anywhere, _anywhere, _same_height, _more(lambda rng: "block"))  # fmt: skip
