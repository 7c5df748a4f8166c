"""Texts about mirrored pictures: "left" becomes "right", where that is what the word means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlfuse.types import Span

PAIR = {"left": "right", "right": "left"}

# A side as a word or the beginning of one: left, leftmost, left-hand, lefthand, right-side.
SIDE = re.compile(r"\b(left|right)(?=(?:most|hand|ward|wards|side)?\b)", re.IGNORECASE)

# Words of these roots that name no side ("right behind", "left over"), and other words that a mirror would make wrong.
DOUBTFUL = re.compile(
    r"\bright (?:next|behind|above|below|beside|under|over|before|after|now|away|here|there|up|down|at|by|near|beneath|angle)\b"
    r"|\b(?:all|human|civil) rights?\b|\b(?:has|have|had|having|was|were|been|being|just|who) left\b"
    r"|\bleft (?:over|behind|alone|out|open|on the|in the|by)\b"
    r"|clockwise|o'clock|\b(?:east|west)(?:ern)?\b|\b(?:port|starboard)\b|\b(?:lefty|righty|leftover|upright)\w*\b",
    re.IGNORECASE,
)


def names_sides(text: str) -> bool:
    """Whether a mirror of the picture could make the text wrong."""
    return SIDE.search(text) is not None or DOUBTFUL.search(text) is not None


def can_swap(text: str) -> bool:
    """Whether `swap_sides` makes the text right for the mirrored picture: it names no sides, or plainly."""
    return DOUBTFUL.search(text) is None


def swap_sides(text: str, spans: Sequence[Span] = ()) -> tuple[str, tuple[Span, ...]]:
    """The text with left and right exchanged, letter case kept, and where its spans then lie.

    A span that begins or ends inside an exchanged word takes the whole word in.
    """
    pieces: list[str] = []
    places = list(range(len(text) + 1))  # of every character of the old text in the new one
    starts = places.copy()
    end = length = 0
    for match in SIDE.finditer(text):
        pieces += [text[end : match.start()], _like(PAIR[match[0].lower()], match[0])]
        length += match.start() - end
        grown = length + len(pieces[-1])
        for at in range(end, match.start() + 1):
            places[at] = starts[at] = length - (match.start() - at)
        for at in range(match.start() + 1, match.end()):
            starts[at], places[at] = length, grown
        end, length = match.end(), grown
    for at in range(end, len(text) + 1):
        places[at] = starts[at] = length + at - end
    return "".join([*pieces, text[end:]]), tuple((starts[first], places[last]) for first, last in spans)


def _like(word: str, model: str) -> str:
    """`word` in the letter case of `model`."""
    return word.upper() if model.isupper() else word.capitalize() if model[0].isupper() else word
