"""Tables of figures from several seeds, as the benchmarks print them."""

from collections.abc import Sequence
from statistics import mean, stdev


def spread(values: Sequence[float]) -> str:
    """Shares as percent: their mean and sample standard deviation (none of a single one)."""
    return f"{100 * mean(values):.1f}" + (f" ± {100 * stdev(values):.1f}" if len(values) > 1 else "")


def listed(values: Sequence[float]) -> str:
    """Shares as percent: their mean, and each of them."""
    return f"{100 * mean(values):.1f} ({', '.join(f'{100 * value:.1f}' for value in values)})"


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def heading(cells: Sequence[str]) -> list[str]:
    return [line(cells), "|---" * len(cells) + "|"]
