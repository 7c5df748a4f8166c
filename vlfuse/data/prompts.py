"""Names of classes made into texts: prompts in which every name has its place, and longer lists in pieces.

Facts: FIBER's and GLIP's detection prompts ("person. bicycle. car").
Things are numbered as in the list that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from vlfuse.data.spans import LONE_SURROGATE, positive_map
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.types import ConfigError, Span, TaskError

SEPARATOR = ". "
FRAME = 2  # the start and the end of a text are tokens too

Around = tuple[str, str]
"""What stands before and after a name in a prompt without being part of it."""


@dataclass(frozen=True)
class Prompt:
    """A text and the things it names. things: their numbers; spans: for each, the characters that name it."""

    text: str
    things: tuple[int, ...]
    spans: tuple[tuple[Span, ...], ...]

    def map(self, tokenizer: Tokenizer, max_tokens: int) -> Tensor:
        """[things, T] which tokens name each; T as `Tokenizer.encode` pads one text."""
        return positive_map(self.text, tokenizer.encode_fully([self.text], max_tokens).offsets[0], self.spans)


def clean_name(name: str) -> str:
    """As a data set writes a class -> as people do: no remark in parentheses, blanks for underscores.

    "alcohol_(beverage)" keeps the blank before its remark, as in the published prompts.
    What is only a remark stays as it is.
    """
    cleaned = re.sub(r"\(.*\)", "", name).replace("_", " ").replace("  ", " ")
    return cleaned if cleaned.strip() else name


def join_names(
    names: Sequence[str],
    things: Sequence[int] | None = None,
    separator: str = SEPARATOR,
    around: Sequence[Around] | None = None,
    others: Sequence[str] = (),
) -> Prompt:
    """One prompt of all names, in order.

    things: their numbers, by default their places. around: texts before and after each name. others: names added at the
    end that are no things: what the model should not mistake for one.
    """
    text, spans = "", []
    for name, (before, after) in zip(names, around or [("", "")] * len(names), strict=True):
        start = len(text) + len(before)
        spans.append(((start, start + len(name)),))
        text += before + name + after + separator
    text = (text + separator.join(others)) if others else text[: len(text) - len(separator)]
    return Prompt(text, tuple(things if things is not None else range(len(names))), tuple(spans))


def class_prompts(
    names: Sequence[str],
    tokenizer: Tokenizer,
    max_tokens: int,
    most: int = 0,
    separator: str = SEPARATOR,
    around: Sequence[Around] | None = None,
) -> list[Prompt]:
    """The prompts that ask for all names, in order, each with at most `max_tokens` tokens (and `most` names, if given).

    Names are cleaned in the text; a name given twice is asked for once, under its first number. Raises TaskError for an
    empty list, a name that is blank or has no tokens, or one that alone is longer than a prompt.
    """
    if not names:
        raise TaskError("there are no classes to look for; give at least one name")
    asked = _check_names(names, tokenizer, max_tokens, separator, around)
    prompts: list[Prompt] = []
    while asked:
        number = _fitting(asked, max_tokens, most)
        while True:  # what was counted name by name may break otherwise in one text
            numbers = [place for place, _ in asked[:number]]
            picked = [around[place] for place in numbers] if around else None
            prompt = join_names([clean_name(names[place]) for place in numbers], numbers, separator, picked)
            if number == 1 or len(tokenizer.ids([prompt.text], 10**9)[0]) <= max_tokens:
                break
            number -= 1
        prompts.append(prompt)
        asked = asked[number:]
    return prompts


def _check_names(
    names: Sequence[str], tokenizer: Tokenizer, max_tokens: int, separator: str, around: Sequence[Around] | None
) -> list[tuple[int, int]]:
    """(number, tokens with its separator) of every different name."""
    first = {name: number for number, name in reversed(list(enumerate(names)))}
    numbers, texts = sorted(first.values()), []
    for number in numbers:
        name = names[number]
        if not isinstance(name, str) or not name.strip() or LONE_SURROGATE.search(name):
            raise TaskError(f"class {number} is {name!r}; a class has a name in whole letters")
        before, after = around[number] if around else ("", "")
        texts.append(before + clean_name(names[number]) + after)
    alone = tokenizer.ids(texts, 10**9)
    joined = tokenizer.ids([" " + text.strip() + separator for text in texts], 10**9)
    for number, text, row in zip(numbers, texts, alone, strict=True):
        if len(row) > max_tokens:
            raise TaskError(
                f"class {number} ('{text[:40]}...') alone takes {len(row)} tokens, a prompt holds {max_tokens}; shorten its name"
            )
        if len(row) == FRAME:
            raise TaskError(f"class {number} is {text!r}, of which the tokenizer keeps nothing; write it in letters")
    return [(number, len(row) - FRAME) for number, row in zip(numbers, joined, strict=True)]


def _fitting(asked: list[tuple[int, int]], max_tokens: int, most: int) -> int:
    """How many of the first names fit in one prompt, at least one."""
    total = np.cumsum([length for _, length in asked[: most or max_tokens]])
    return max(1, int(np.searchsorted(total, max_tokens - FRAME, side="right")))


@dataclass(frozen=True)
class Negatives:
    """How many classes that are not in a picture are asked for beside those that are.

    With probability `none` no one, with `one` a single one, with `full` the most there may be, else any number of 1 to
    `most`. Source: FIBER's pre-training; its configuration asks for shares that its code refuses,
    these are the nearest that it takes.
    """

    most: int = 85
    one: float = 0.05
    none: float = 0.05
    full: float = 0.5

    def __post_init__(self):
        shares = (self.one, self.none, self.full)
        if self.most < 1 or min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(
                f"negatives: most {self.most}, one, none, full {shares}; most is at least 1, the shares are not negative and sum to at most 1"
            )

    def draw(self, rng: np.random.Generator) -> int:
        chance = rng.random()
        if chance < self.one:
            return 1
        if chance < self.one + self.none:
            return 0
        return self.most if chance < self.one + self.none + self.full else int(rng.integers(1, self.most + 1))


@dataclass(frozen=True)
class PromptMaker:
    """Prompts for training on boxes with classes.

    names: all classes of the data. negatives: None to ask for all classes in every prompt, else how many absent ones
    are drawn. shuffle: another order in every prompt. Raises ConfigError for what cannot be asked for in one prompt.
    """

    names: tuple[str, ...]
    tokenizer: Tokenizer
    max_tokens: int
    negatives: Negatives | None = None
    shuffle: bool = True
    separator: str = SEPARATOR
    around: tuple[Around, ...] = ()

    def __post_init__(self):
        if len(set(self.names)) < len(self.names):
            twice = next(name for place, name in enumerate(self.names) if name in self.names[:place])
            raise ConfigError(f"the class '{twice}' occurs twice; every class needs a name of its own")
        prompts = class_prompts(self.names, self.tokenizer, self.max_tokens, 0, self.separator, self.around or None)
        if self.negatives is None and len(prompts) > 1:
            raise ConfigError(
                f"the {len(self.names)} classes take {len(prompts)} prompts of {self.max_tokens} tokens; "
                "draw negatives instead of asking for all of them, or raise the length of texts"
            )

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The place of each name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def lengths(self) -> np.ndarray:
        """[classes] tokens of each "name. "."""
        texts = [self._shown(number) + self.separator for number in range(len(self.names))]
        return np.array([len(row) - FRAME for row in self.tokenizer.ids(texts, 10**9)])

    def draw(self, present: Sequence[int], rng: np.random.Generator, absent: Sequence[int] | None = None) -> Prompt:
        """A prompt for a picture with the classes `present`, which all are asked for as far as they fit.

        absent: the classes known not to be there, where not all others are (LVIS); negatives are drawn from these.
        Classes are drawn without regard to `present`, and those that are there are then left out,
        so that rarely fewer come than were drawn.
        """
        if self.negatives is None:
            chosen = list(range(len(self.names)))
        else:
            chosen = self._positives(present, rng)
            pool = np.arange(len(self.names)) if absent is None else np.unique(np.array(absent, dtype=np.int64))
            drawn = rng.permutation(pool)[: self.negatives.draw(rng)]
            room = self.max_tokens - FRAME - int(self.lengths[chosen].sum())
            for number in drawn[~np.isin(drawn, list(present))].tolist():
                room -= int(self.lengths[number])
                if room <= 0:
                    break
                chosen.append(number)
            chosen = chosen or [int(rng.choice(pool if len(pool) else len(self.names)))]  # a text says something
        if self.shuffle:
            chosen = [chosen[place] for place in rng.permutation(len(chosen))]
        names = [clean_name(self.names[number]) for number in chosen]
        around = [self.around[number] for number in chosen] if self.around else None
        return join_names(names, chosen, self.separator, around)

    def _positives(self, present: Sequence[int], rng: np.random.Generator) -> list[int]:
        order = rng.permutation(np.unique(np.array(present, dtype=np.int64)))
        fits = np.cumsum(self.lengths[order]) <= self.max_tokens - FRAME
        return order[fits].tolist()

    def _shown(self, number: int) -> str:
        before, after = self.around[number] if self.around else ("", "")
        return before + clean_name(self.names[number]) + after
