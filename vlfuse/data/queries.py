"""Descriptions made of what regions are called, and which regions of the picture they fit: one, several or none.

"striped", "red square", "small dotted": they ask for all that fits, as questions of number and existence do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlfuse.types import Region

SHARES = {1: 0.4, 2: 0.4, 3: 0.2}  # how often a description has so many words
SWAPPED = 0.4  # how often a word is another region's, so that each word may fit something and all of them nothing


@dataclass(frozen=True)
class Query:
    text: str
    boxes: Tensor  # [n, 4] of the regions it fits, in pixels of the transformed picture


def draw_queries(regions: Sequence[tuple[Region, Tensor]], number: int, rng: np.random.Generator) -> tuple[Query, ...]:
    """`number` descriptions for regions with their boxes [4]; none where there are no regions."""
    if not number or not regions:
        return ()
    words = [(*region.attributes, region.label) for region, _ in regions]
    boxes = torch.stack([box for _, box in regions])
    queries = []
    for _ in range(number):
        base = words[rng.integers(len(words))]
        length = min(len(base), int(rng.choice(list(SHARES), p=list(SHARES.values()))))
        chosen = []
        for place in sorted(rng.permutation(len(base))[:length].tolist()):
            other = words[rng.integers(len(words))] if rng.random() < SWAPPED else base
            chosen.append((other if place < len(other) else base)[place])
        fits = torch.tensor([set(chosen) <= set(named) for named in words])
        queries.append(Query(" ".join(chosen), boxes[fits]))
    return tuple(queries)
