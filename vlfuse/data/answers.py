"""Closed lists of answers for visual question answering, and the soft targets annotators' answers make over them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from vlfuse.types import ConfigError, Sample

SOFT_SCORE = (0.0, 0.3, 0.6, 0.9, 1.0)  # by how many of ten annotators gave the answer; 1.0 from four on

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(NUMBERS)}
ARTICLES = frozenset({"a", "an", "the"})
SYMBOLS = ';/[]"{}()=+\\_-><@`,?!'
CONTRACTED = """
'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock
oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've
wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


# The published table writes "im" and "ive" with a capital I, so that they never meet a lower-cased answer,
# and mends "somebody'd" so.
MENDED = {"somebody'd": "somebodyd"} | {
    wrong: word for word in CONTRACTED.split() for wrong in _without_one_apostrophe(word)
}


def normalize_word(answer: str) -> str:
    """The clean-up FIBER's data pipeline applies to answers that form a label list (facts:
    golden `fiber_coarse_text_utils`).

    Scoring uses the official clean-up of the VQA metric, which differs in details: see `vlfuse.metrics`.
    """
    text = answer.lower().replace("\n", " ").replace("\t", " ").strip()
    glue = re.search(r"\d,\d", text) is not None  # "2,000": symbols vanish rather than part the words
    cleaned = text
    for symbol in SYMBOLS:
        beside_blank = f"{symbol} " in text or f" {symbol}" in text
        cleaned = cleaned.replace(symbol, "" if beside_blank or glue else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned)
    words = (DIGITS.get(word, word) for word in cleaned.split())
    return " ".join(MENDED.get(word, word) for word in words if word not in ARTICLES)


def soft_scores(answers: Sequence[str]) -> dict[str, float]:
    """The score of each different answer by how many annotators gave it: 1, 2, 3, 4 or more of ten -> 0.3, 0.6, 0.9, 1.

    Where there are not ten annotators, counts are scaled to ten and rounded down: a single answer scores 1.
    """
    return {
        answer: SOFT_SCORE[min(count * 10 // len(answers), len(SOFT_SCORE) - 1)]
        for answer, count in Counter(answers).items()
    }


@dataclass(frozen=True)
class AnswerList:
    """The answers a model can give, in the order of its output units.

    normalise: whether two spellings that clean up alike are one answer. FIBER's published label files are cleaned
    themselves, but annotators' raw answers are looked up in them; set False to rebuild such lists and targets.
    """

    answers: tuple[str, ...]
    normalise: bool = True
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.answers:
            raise ConfigError(
                "the list of answers is empty; lower its minimum count or check that the data has answers"
            )
        index: dict[str, int] = {}
        for number, answer in enumerate(self.answers):
            index.setdefault(self.key(answer), number)
        object.__setattr__(self, "index", index)

    @classmethod
    def from_samples(cls, samples: Iterable[Sample], min_count: int = 1, normalise: bool = True) -> AnswerList:
        """The most frequent answer of each question, if it is that of at least `min_count` questions,
        in order of appearance.

        Each is kept in its most frequent spelling, or cleaned up without `normalise`.
        FIBER's 3,129 answers to VQAv2 have 9.
        """
        spellings: dict[str, Counter[str]] = {}
        for sample in samples:
            for question in sample.questions:
                if question.answers:
                    answer = Counter(question.answers).most_common(1)[0][0]
                    spellings.setdefault(_clean(answer), Counter())[answer.strip()] += 1
        kept = {clean: found for clean, found in spellings.items() if found.total() >= min_count}
        return cls(
            tuple(found.most_common(1)[0][0] if normalise else clean for clean, found in kept.items()), normalise
        )

    def __len__(self) -> int:
        return len(self.answers)

    def key(self, answer: str) -> str:
        """What `answer` is looked up by."""
        return _clean(answer) if self.normalise else answer

    def target(self, answers: Sequence[str]) -> Tensor:
        """[A] float32 soft scores of one question; all zero where no answer is in the list."""
        target = torch.zeros(len(self.answers))
        for key, score in soft_scores([self.key(answer) for answer in answers]).items():
            if key in self.index:
                target[self.index[key]] = score
        return target

    def covers(self, answers: Sequence[str]) -> bool:
        """Whether any of the answers is in the list."""
        return any(self.key(answer) in self.index for answer in answers)


@lru_cache(maxsize=2**16)
def _clean(answer: str) -> str:
    """Never empty: "a" and "the" are answers, too."""
    return normalize_word(answer) or answer.lower().strip()
