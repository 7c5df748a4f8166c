"""What is said of trays: true/false statements, worded as people word them of such pictures, and words for things and trays.

Statement and label are drawn first, and then trays of which it is true or false: words alone tell nothing.
"""

from __future__ import annotations

import random

from vlfuse.data.scenes.loose_claims import EDGES, LOOSE_CLAIMS, loose_clause
from vlfuse.data.scenes.tower_claims import TOWER_CLAIMS, tower_clause
from vlfuse.data.scenes.trays import TOWERS, Tray, Trays, sample_trays
from vlfuse.data.scenes.world import pick

TRIES = 400  # trays drawn for a set of statements before others are taken
CLAUSES = 16  # that might be true of a tray

Named = tuple[str, tuple[str, ...]]
"""Label and attributes of a region."""


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
                stop = "." if rng.random() < 0.5 else ""
                said = [(c.text + stop, "true" if label else "false") for c, label in zip(claims, labels, strict=True)]
                return trays, said


def things_named(trays: Trays) -> list[Named]:
    """Every thing, tray by tray: a block with its colour and whether it is at an end of its tower, or another thing with its size,
    its colour and the edges it touches."""
    return [_named(trays.towers, tray, place) for tray in trays.trays for place in range(len(tray))]


def _named(towers: bool, tray: Tray, place: int) -> Named:
    thing = tray[place]
    if towers:
        ends = (("at the base", place == 0), ("at the top", place == len(tray) - 1))
        return "block", (thing.colour, *(words for words, here in ends if here))
    return thing.shape, (thing.size, thing.colour, *(f"touching {words[0]}" for words, near in EDGES if near(thing)))


def trays_named(trays: Trays, rng: random.Random) -> list[Named]:
    """Every tray: a tower or a box, with those of CLAUSES drawn clauses that are true of it."""
    label, make = ("tower", tower_clause) if trays.towers else ("box", loose_clause)
    clauses = [make(rng) for _ in range(CLAUSES)]
    return [(label, tuple(dict.fromkeys(c.text for c in clauses if c.holds(tray)))) for tray in trays.trays]
