"""What statements about trays are made of: amounts, descriptions and how many trays have what a clause says."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vlfuse.data.scenes.language import a, figure, plural
from vlfuse.data.scenes.trays import COLOURS, TRAYS, Tray
from vlfuse.data.scenes.world import Thing, pick

Of = Callable[[Thing], bool]


class Claim(NamedTuple):
    """What is said of a picture; `holds` is None of trays for which readers would not agree."""

    text: str
    holds: Callable[[Sequence[Tray]], bool | None]


class Clause(NamedTuple):
    """What one tray has, to be said behind "with"."""

    text: str
    holds: Callable[[Tray], bool]


class Amount(NamedTuple):
    """How many there are said to be. several: what is counted stands in the plural."""

    text: str
    holds: Callable[[int], bool]
    several: bool

    def of(self, words: str) -> str:
        """ "a box", "exactly two boxes"."""
        return a(words) if self.text == "a" else f"{self.text} {plural(words) if self.several else words}"

    @property
    def there(self) -> str:
        return "there are" if self.several else "there is"


def amount(rng: random.Random, most: int) -> Amount:
    """ "a" (or more), "exactly two", "at least 3" ..., never of more than `most`. A bare number is exact."""
    if rng.random() < 0.3:
        return Amount("a", lambda count: count > 0, False)
    number = 1 + int(rng.random() * most)
    said = figure(rng, number, 0.4)
    bound = pick(rng, ("", "", "exactly", "exactly", "only", "at least"))
    if bound == "at least":
        return Amount(f"at least {said}", lambda count: count >= number, number > 1)
    return Amount(f"{bound} {said}".lstrip(), lambda count: count == number, number > 1)


def colours(rng: random.Random, number: int) -> list[str]:
    return rng.sample(tuple(COLOURS), number)


def count(tray: Tray, of: Of) -> int:
    return sum(map(of, tray))


def total(trays: Sequence[Tray], of: Of) -> int:
    return sum(count(tray, of) for tray in trays)


def quantified(rng: random.Random, noun: str, clause: Clause) -> Claim:
    """How many of the trays have what a clause says."""
    text, holds = clause
    choice = rng.random()
    if choice < 0.7:
        number = amount(rng, TRAYS - 1)
        said = pick(rng, ("with", "with", "with", "that has" if not number.several else "that have", "containing"))
        return Claim(
            f"{number.there} {number.of(noun)} {said} {text}",
            lambda trays: number.holds(sum(map(holds, trays))),
        )
    if choice < 0.75:
        form = pick(rng, (f"one of the {plural(noun)} has {text}", f"one {noun} has {text}"))
        return Claim(form, lambda trays: any(map(holds, trays)))
    if choice < 0.82:
        form = pick(rng, (f"two of the {plural(noun)} have {text}", f"two {plural(noun)} have {text}"))
        return Claim(form, lambda trays: sum(map(holds, trays)) == 2)
    if choice < 0.94:
        form = pick(rng, (f"each {noun} has {text}", f"all {plural(noun)} have {text}", f"every {noun} has {text}"))
        return Claim(form, lambda trays: all(map(holds, trays)))
    form = pick(rng, (f"there is no {noun} with {text}", f"none of the {plural(noun)} has {text}"))
    return Claim(form, lambda trays: not any(map(holds, trays)))


def hued(rng: random.Random, noun: str) -> Clause:
    """Which colours a tray or tower has."""
    one, two = colours(rng, 2)
    nouns = plural(noun)
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


def more(noun: Callable[[random.Random], str]) -> Callable[[random.Random], Claim]:
    def made(rng: random.Random) -> Claim:
        one, two = colours(rng, 2)
        what = plural(noun(rng))
        return Claim(
            f"there are more {one} {what} than {two} {what}",
            lambda trays: total(trays, lambda t: t.colour == one) > total(trays, lambda t: t.colour == two),
        )

    return made
