"""True/false statements about trays, worded as people word them of such pictures.

The statement and its label are drawn first, and then trays of which it is true or false: words alone tell nothing.
"""

from __future__ import annotations

import random

from vlfuse.data.scenes.loose_claims import LOOSE_CLAIMS
from vlfuse.data.scenes.tower_claims import TOWER_CLAIMS
from vlfuse.data.scenes.trays import TOWERS, Trays, sample_trays
from vlfuse.data.scenes.world import pick

TRIES = 400  # trays drawn for a set of statements before others are taken


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
