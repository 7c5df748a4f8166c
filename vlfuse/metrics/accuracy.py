"""Share of right answers, and what always giving the most frequent answer would reach."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence


def accuracy(predictions: Sequence[Hashable], targets: Sequence[Hashable]) -> float:
    """Share of predictions equal to their target, in [0, 1]."""
    require_pairs(predictions, targets)
    return sum(p == t for p, t in zip(predictions, targets, strict=True)) / len(targets)


def majority(targets: Sequence[Hashable]) -> float:
    """Accuracy of always giving the most frequent target: the figure to stand any accuracy beside."""
    require_pairs(targets, targets)
    return max(Counter(targets).values()) / len(targets)


def group_means(scores: Sequence[float], groups: Sequence[str]) -> Mapping[str, float]:
    """Mean score of every group, in order of first appearance: accuracy by kind of question."""
    require_pairs(scores, groups)
    found: dict[str, list[float]] = {}
    for score, group in zip(scores, groups, strict=True):
        found.setdefault(group, []).append(score)
    return {group: sum(values) / len(values) for group, values in found.items()}


def require_pairs(predictions: Sequence, targets: Sequence) -> None:
    if not targets or len(predictions) != len(targets):
        raise ValueError(
            f"{len(predictions)} predictions for {len(targets)} targets; give one for each, and at least one"
        )
