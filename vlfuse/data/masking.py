"""Masking words for masked language modelling (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

import numpy as np

IGNORED = -100


def mask_tokens(
    ids: np.ndarray,
    special: np.ndarray,
    vocab_size: int,
    mask_id: int,
    generator: np.random.Generator,
    probability: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens to ask for: 80 % become the mask, 10 % any token of the vocabulary, 10 % stay.

    ids [...] int64; special [...] bool, True at tokens never chosen (start, end, padding, mask). Every other token is
    chosen on its own with `probability`, so in a short text it can be that none is: its labels are then all -100, and
    it asks nothing. Returns (masked ids, labels), labels -100 where nothing is asked.
    Three draws are made for every token, whatever is chosen.
    """
    chance, fate = generator.random((2, *ids.shape))
    other = generator.integers(0, vocab_size, ids.shape)
    chosen = (chance < probability) & ~special
    masked = np.where(chosen & (fate < 0.8), mask_id, ids)
    masked = np.where(chosen & (fate >= 0.9), other, masked)
    return masked, np.where(chosen, ids, IGNORED)
