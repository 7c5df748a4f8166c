"""Caption metrics of the COCO evaluation: BLEU (Papineni et al. 2002), ROUGE-L (Lin 2004), CIDEr-D (Vedantam et al.
2015).

Every function takes captions as lists of words, see `vlfuse.metrics.words.caption_words`: one hypothesis an image, any
number of references above none. Definitions are those of the official tool (pycocoevalcap),
which differ from the papers in details.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vlfuse.metrics.words import caption_words

Words: TypeAlias = Sequence[str]
Gram: TypeAlias = tuple[str, ...]

ORDERS = 4
TINY, SMALL = 1e-15, 1e-9  # of the official tool: they decide what an n-gram order without a match scores
ROUGE_BETA = 1.2
SIGMA = 6.0  # of CIDEr-D's penalty on a difference of length


def caption_metrics(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """{"bleu1".."bleu4", "rouge_l", "cider_d"} of raw captions, document frequencies taken from these references.

    BLEU and ROUGE-L lie in [0, 1], CIDEr-D in [0, 10] (the literature gives it times 100).
    """
    hypotheses = [caption_words(caption) for caption in captions]
    given = [[caption_words(reference) for reference in group] for group in references]
    found = {f"bleu{n}": value for n, value in enumerate(bleu(hypotheses, given), start=1)}
    found["rouge_l"] = _mean([rouge_l(h, r) for h, r in zip(hypotheses, given, strict=True)])
    return found | {"cider_d": _mean(CiderD.of(given).scores(hypotheses, given))}


# --- BLEU --------------------------------------------------------------------------------------------------------


def bleu(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """BLEU-1 to BLEU-4 of a corpus, against the reference nearest in length (of two, the shorter)."""
    _require(hypotheses, references)
    right, made = [0] * ORDERS, [0] * ORDERS
    length = reference_length = 0
    for hypothesis, group in zip(hypotheses, references, strict=True):
        length += len(hypothesis)
        reference_length += min((abs(len(r) - len(hypothesis)), len(r)) for r in group)[1]
        most: Counter[Gram] = Counter()
        for reference in group:
            most |= grams(reference)
        for gram, count in grams(hypothesis).items():
            right[len(gram) - 1] += min(count, most[gram])
        for n in range(ORDERS):
            made[n] += max(0, len(hypothesis) - n)
    ratio = (length + TINY) / (reference_length + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for n in range(ORDERS):
        product *= (right[n] + TINY) / (made[n] + SMALL)
        scores.append(brevity * product ** (1 / (n + 1)))
    return scores


def grams(words: Words) -> Counter[Gram]:
    """Counts of all n-grams of one to four words."""
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1))


# --- ROUGE-L -----------------------------------------------------------------------------------------------------


def rouge_l(hypothesis: Words, references: Sequence[Words]) -> float:
    """F-measure of the longest common subsequence; the best precision and the best recall may be of two references."""
    hypothesis = hypothesis or [""]  # to the official tool no caption is one empty word
    common = [(longest_common(hypothesis, reference or [""]), len(reference or [""])) for reference in references]
    precision = max(length for length, _ in common) / len(hypothesis)
    recall = max(length / size for length, size in common)
    if not precision or not recall:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def longest_common(one: Words, other: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for i, against in enumerate(other, start=1):
            diagonal, row[i] = row[i], diagonal + 1 if word == against else max(row[i], row[i - 1])
    return row[-1]


# --- CIDEr-D -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CiderD:
    """CIDEr-D with given document frequencies: in how many of `documents` images' references each n-gram stands."""

    frequencies: Mapping[Gram, float]
    documents: float

    @classmethod
    def of(cls, references: Iterable[Sequence[Words]]) -> CiderD:
        """Frequencies counted from the references of each image; with one image every score is 0."""
        counts: Counter[Gram] = Counter()
        images = 0
        for group in references:
            images += 1
            counts.update({gram for words in group for gram in grams(words)})
        return cls(counts, float(images))

    @classmethod
    def load(cls, path: str | Path) -> CiderD:
        """What `save` wrote. Raises ValueError or OSError where it did not."""
        found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.keys() != {"documents", "frequencies"}:
            raise ValueError(f"{path} holds no document frequencies: keys must be documents and frequencies")
        return cls({tuple(gram.split(" ")): count for gram, count in found["frequencies"].items()}, found["documents"])

    def save(self, path: str | Path) -> None:
        named = {" ".join(gram): count for gram, count in self.frequencies.items()}
        text = json.dumps({"documents": self.documents, "frequencies": named}, ensure_ascii=False)
        Path(path).write_text(text, encoding="utf-8")

    def scores(self, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
        """Of each image's hypothesis, in [0, 10]."""
        _require(hypotheses, references)
        return [self.of_one([one], group)[0] for one, group in zip(hypotheses, references, strict=True)]

    def of_one(self, hypotheses: Sequence[Words], references: Sequence[Words]) -> list[float]:
        """Of several captions of one image."""
        weighed = [(reference, self._weights(reference)) for reference in references]
        return [self._score(hypothesis, weighed) for hypothesis in hypotheses]

    def _score(self, hypothesis: Words, references: Sequence[tuple[Words, list[dict[Gram, float]]]]) -> float:
        ours = self._weights(hypothesis)
        total = 0.0
        for reference, theirs in references:
            # The official "length" is the number of bigrams.
            apart = max(0, len(hypothesis) - 1) - max(0, len(reference) - 1)
            alike = sum(_cosine(h, r) for h, r in zip(ours, theirs, strict=True)) / ORDERS
            total += alike * math.exp(-(apart**2) / (2 * SIGMA**2))
        return 10 * total / len(references)

    def _weights(self, words: Words) -> list[dict[Gram, float]]:
        """Term frequency x inverse document frequency of the n-grams, for each n."""
        log_documents = math.log(self.documents)
        weights: list[dict[Gram, float]] = [{} for _ in range(ORDERS)]
        for gram, count in grams(words).items():
            rarity = log_documents - math.log(max(1.0, self.frequencies.get(gram, 0.0)))
            weights[len(gram) - 1][gram] = count * rarity
        return weights


def _cosine(hypothesis: Mapping[Gram, float], reference: Mapping[Gram, float]) -> float:
    """Of weights, those of the hypothesis clipped to the reference's; undivided where a norm is 0."""
    product = sum(min(weight, reference[gram]) * reference[gram] for gram, weight in hypothesis.items() if gram in reference)  # fmt: skip
    norms = math.hypot(*hypothesis.values()) * math.hypot(*reference.values())
    return product / norms if norms else product


def _require(hypotheses: Sequence, references: Sequence[Sequence]) -> None:
    if not hypotheses or len(hypotheses) != len(references) or not all(references):
        raise ValueError(
            f"{len(hypotheses)} captions for {len(references)} groups of references; give one for each group, and at least "
            "one reference in each"
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
