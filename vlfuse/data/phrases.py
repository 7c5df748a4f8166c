"""The phrases of a caption that may name things, where the user does not say which."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlfuse.data.spans import check_spans
from vlfuse.types import Span, TaskError

WORD = re.compile(r"[^\W_](?:[\w'’-]*\w)?")
DETERMINERS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "some",
        "any",
        "each",
        "every",
        "both",
        "all",
        "several",
        "many",
        "few",
        "no",
        "another",
        "other",
        "its",
        "his",
        "her",
        "their",
        "our",
        "my",
        "your",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
    ]
)
# Words that end a phrase: prepositions, conjunctions, pronouns and the commonest verbs.
BETWEEN = frozenset(
    [
        "about",
        "above",
        "across",
        "after",
        "against",
        "along",
        "among",
        "and",
        "are",
        "around",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "behind",
        "being",
        "below",
        "beneath",
        "beside",
        "besides",
        "between",
        "beyond",
        "but",
        "by",
        "can",
        "do",
        "does",
        "down",
        "during",
        "far",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "holding",
        "how",
        "i",
        "if",
        "in",
        "inside",
        "into",
        "is",
        "it",
        "near",
        "nearby",
        "next",
        "not",
        "of",
        "off",
        "on",
        "onto",
        "or",
        "out",
        "outside",
        "over",
        "past",
        "she",
        "since",
        "so",
        "than",
        "then",
        "there",
        "they",
        "through",
        "to",
        "toward",
        "towards",
        "under",
        "underneath",
        "until",
        "up",
        "upon",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "with",
        "within",
        "without",
        "you",
    ]
)


def noun_phrases(text: str) -> list[Span]:
    """Runs of words between prepositions, verbs and marks: "a brown dog" and "a laptop" of "a brown dog next
    to a laptop".

    By closed lists of English words, not by grammar; a text without such words is one phrase.
    Name the phrases where it matters.
    """
    phrases: list[list[re.Match[str]]] = [[]]
    end = 0
    for word in WORD.finditer(text):
        lower, current = word[0].lower(), phrases[-1]
        begins = lower in DETERMINERS and any(w[0].lower() not in DETERMINERS for w in current)
        if lower in BETWEEN or begins or text[end : word.start()].strip():
            phrases.append([])
        if lower not in BETWEEN:
            phrases[-1].append(word)
        end = word.end()
    spans = []
    for words in phrases:
        while len(words) > 1 and words[-1][0].lower().endswith("ing") and words[-2][0].lower() not in DETERMINERS:
            words = words[:-1]  # "a man riding" a horse
        if any(word[0].lower() not in DETERMINERS for word in words):
            spans.append((words[0].start(), words[-1].end()))
    return spans or [(0, len(text))]


def phrase_spans(caption: str, phrases: Sequence[str | Span]) -> list[Span]:
    """Where the user's phrases stand: characters [start, end), or words, each place of which counts.

    Raises TaskError for words that the caption lacks and DataError for characters that it has not.
    """
    spans: list[Span] = []
    for phrase in phrases:
        if isinstance(phrase, str):
            found = [
                m.span() for m in re.finditer(rf"(?<!\w){re.escape(phrase.strip())}(?!\w)", caption, re.IGNORECASE)
            ]
            if not phrase.strip() or not found:
                raise TaskError(
                    f"the phrase {phrase!r} does not occur in the caption {caption!r}; give words or characters of it"
                )
            spans += found
        else:
            spans.append((phrase[0], phrase[1]))
    check_spans(caption, spans)
    return list(dict.fromkeys(spans))
