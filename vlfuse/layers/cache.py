"""Keys and values of the words written so far, so that each further word costs one pass over one token.

Shapes: N rows, H heads, T tokens, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KeyValueCache:
    """Of one self-attention layer: [N, H, T, d] each, growing along T."""

    def __init__(self):
        self.stored: tuple[Tensor, Tensor] | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens; returns those of all."""
        if self.stored is not None:
            key, value = torch.cat([self.stored[0], key], dim=2), torch.cat([self.stored[1], value], dim=2)
        self.stored = key, value
        return self.stored

    def select(self, rows: Tensor) -> None:
        """Keep the rows [M] int64, which may repeat: a search goes on from its best beginnings."""
        if self.stored is not None:
            self.stored = self.stored[0][rows], self.stored[1][rows]


class Past:
    """The caches of all layers of a decoder."""

    def __init__(self, layers: int):
        self.layers = [KeyValueCache() for _ in range(layers)]

    @property
    def length(self) -> int:
        stored = self.layers[0].stored
        return 0 if stored is None else stored[0].shape[2]

    def select(self, rows: Tensor) -> None:
        for layer in self.layers:
            layer.select(rows)
