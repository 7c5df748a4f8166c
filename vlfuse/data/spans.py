"""From characters to tokens: the tokens that spans of a text cover, and the target rows made of them.

Shapes: n things named, T tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vlfuse.types import DataError, Span

JOINER = "\u200d"
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair, which no text has and no tokenizer reads
REACH = 3  # characters at either end of a span among which a token is looked for


def splits_character(text: str, position: int) -> bool:
    """Whether `position` lies inside what a reader takes for one character: before an accent, a skin tone or a joined
    emoji, or between the halves of a flag."""
    if text.isascii() or not 0 < position < len(text):
        return False
    before, after = text[position - 1], text[position]
    if after == JOINER or before == JOINER or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    if _is_flag_half(after):
        start = position
        while start and _is_flag_half(text[start - 1]):
            start -= 1
        return (position - start) % 2 == 1
    return unicodedata.category(after).startswith("M")


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def check_spans(text: str, spans: Sequence[Span]) -> None:
    """Raises DataError for a span that is empty, reaches outside the text or begins or ends inside a character."""
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise DataError(
                f"the span [{start}, {end}) is not one of '{_short(text)}', which has {len(text)} characters; spans are [start, end) "
                "with 0 <= start < end"
            )
        for position in (start, end):
            if splits_character(text, position):
                raise DataError(
                    f"the span [{start}, {end}) of '{_short(text)}' cuts the character at {position} in two; count whole characters"
                )


def positive_map(text: str, offsets: Tensor, groups: Sequence[Sequence[Span]], width: int = 0) -> Tensor:
    """Which tokens name each thing: [n, T] float32, or [n, `width`]; 1 / their number at its tokens, else 0.

    offsets [T, 2]: characters [start, end) of each token, (0, 0) for added ones, of any fast tokenizer. groups: the
    spans of each thing. A row is all 0 where every span lies behind the last token, in blanks, or was cut off.
    Source: FIBER's targets, which follow MDETR (Kamath et al. 2021, section 3.2). Of a character made of several tokens
    (a rare letter in pieces), the first stands for it. Raises DataError as `check_spans`.
    """
    first = first_tokens(text, offsets)
    rows = torch.zeros(len(groups), width or len(offsets))
    for row, spans in zip(rows, groups, strict=True):
        check_spans(text, spans)
        for span in spans:
            row[slice(*token_range(first, span))] = 1
    return rows / (rows.sum(1, keepdim=True) + 1e-6)


def first_tokens(text: str, offsets: Tensor) -> np.ndarray:
    """[characters] the first token that holds each, -1 for none: blanks before a word belong to no token."""
    first = np.full(len(text), -1)
    for token, (start, end) in reversed(list(enumerate(offsets.tolist()))):
        while start < end and text[start] == " ":
            start += 1
        while start < end and text[end - 1] == " ":
            end -= 1
        first[start:end] = token
    return first


def token_range(first: np.ndarray, span: Span) -> tuple[int, int]:
    """The tokens [first, last + 1) of a span, (0, 0) for none. Either end looks up to three characters inwards
    for a token."""
    start, end = span
    begin = next((first[at] for at in range(start, start + REACH) if at < len(first) and first[at] >= 0), -1)
    last = next((first[at] for at in range(end - 1, end - 1 - REACH, -1) if at >= 0 and first[at] >= 0), -1)
    return (int(begin), int(last) + 1) if 0 <= begin <= last else (0, 0)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
