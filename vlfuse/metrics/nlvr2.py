"""Accuracy and consistency on paired reasoning (Suhr et al. 2019), as the official script counts them."""

from collections.abc import Sequence

from vlfuse.metrics.accuracy import require_pairs


def nlvr2_metrics(identifiers: Sequence[str], predictions: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """{"accuracy", "consistency"} in [0, 1].

    identifiers: `split-set-pair-sentence`; labels compare without regard to case. Consistency is the share of sentences
    (identifiers without the pair) that are judged right for every one of their pairs.
    """
    require_pairs(predictions, targets)
    require_pairs(identifiers, targets)
    right = [p.lower() == t.lower() for p, t in zip(predictions, targets, strict=True)]
    sentences: dict[str, bool] = {}
    for identifier, hit in zip(identifiers, right, strict=True):
        sentence = sentence_of(identifier)
        sentences[sentence] = sentences.get(sentence, True) and hit
    return {"accuracy": sum(right) / len(right), "consistency": sum(sentences.values()) / len(sentences)}


def sentence_of(identifier: str) -> str:
    """`dev-12-3-0` -> `dev-12-0`; an identifier of another form is a sentence of its own."""
    parts = identifier.split("-")
    return "-".join(parts[:2] + parts[3:]) if len(parts) == 4 else identifier
