"""Data that cannot be used: what is wrong with it, where it stands, and a tally for long runs."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Literal, TypeAlias

from vlfuse.types import DataError

log = logging.getLogger(__name__)

Kind: TypeAlias = Literal["record", "missing image", "broken image", "oversized image"]


class SampleError(DataError):
    """One sample that cannot be used. `origin` is its file and line (or archive and member),
    `kind` the sort of trouble."""

    def __init__(self, kind: Kind, origin: str, message: str):
        super().__init__(kind, origin, message)  # the arguments themselves, so that the error survives pickling
        self.kind, self.origin, self.message = kind, origin, message

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}" if self.origin else self.message


class Problems:
    """A tally of unusable samples; each is logged once, however often a run meets it."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], SampleError] = {}
        self.met: Counter[tuple[str, str]] = Counter()

    def add(self, error: SampleError) -> None:
        key = (error.origin or error.message, error.kind)
        if key not in self.seen:
            self.seen[key] = error
            log.warning("unusable sample left out (%s): %s", error.kind, error)
        self.met[key] += 1

    def __len__(self) -> int:
        """How many different samples were unusable."""
        return len(self.seen)

    def by_kind(self) -> dict[str, int]:
        return dict(Counter(error.kind for error in self.seen.values()))
