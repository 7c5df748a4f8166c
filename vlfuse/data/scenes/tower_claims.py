"""Claims of trays with towers of blocks: how high they are, what lies on what, and which colours they have where."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from vlfuse.data.scenes.claims import Claim, Clause, amount, count, hued, more, quantified, total
from vlfuse.data.scenes.language import NUMBERS, figure, plural
from vlfuse.data.scenes.trays import COLOURS, HIGHEST, Tray
from vlfuse.data.scenes.world import pick

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


def _blocks_of(number: int) -> str:
    return plural("block") if number > 1 else "block"


def _height(rng: random.Random) -> Clause:
    number = 1 + int(rng.random() * HIGHEST)
    said = figure(rng, number, 0.4)
    bound = pick(rng, ("", "exactly ", "exactly ", "only ", "at least ", "more than "))
    if bound == "more than ":
        less = min(number, HIGHEST - 1)
        return Clause(f"more than {NUMBERS[less]} {_blocks_of(less)}", lambda tray: len(tray) > less)
    if bound == "at least ":
        least = max(number, 2)
        return Clause(f"at least {NUMBERS[least]} blocks", lambda tray: len(tray) >= least)
    return Clause(f"{bound}{said} {_blocks_of(number)}", lambda tray: len(tray) == number)


def tower_clause(rng: random.Random) -> Clause:
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
    return hued(rng, "block")


def _towered(rng: random.Random) -> Claim:
    return quantified(rng, "tower", tower_clause(rng))


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
    said = figure(rng, number, 0.3)

    def holds(trays: Sequence[Tray]) -> bool | None:
        """False where there is no such tower; where there are several, all must be alike in it."""
        found = {end.holds(tray) for tray in trays if len(tray) == number}
        return found == {True} if len(found) < 2 else None

    return Claim(f"the tower with {said} {_blocks_of(number)} has {end.text}", holds)


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


TOWER_CLAIMS = (_towered,) * 9 + (_blocks, _blocks, _as_end, _as_end, _the_tower, _anywhere, _anywhere, _same_height, more(lambda rng: "block"))  # fmt: skip
