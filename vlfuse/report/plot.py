"""Line plots as SVG that takes its colours from the page: axes, round ticks, a legend, linear or logarithmic.

Coordinates: data -> plot units of a fixed view box; the picture scales with the page.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 36
COLOURS = 6  # the page defines --s0 .. --s5
POINTS = 160  # drawn for each smoothed curve; more cannot be seen


@dataclass(frozen=True)
class Curve:
    """y over x, in any order; points that are not finite are left out. dashed: a level to compare with,
    never smoothed."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False

    def points(self, log: bool) -> list[tuple[float, float]]:
        pairs = sorted(zip(self.x, self.y, strict=True))
        return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)]


@dataclass(frozen=True)
class Plot:
    title: str
    curves: tuple[Curve, ...]
    x_label: str = "step"
    y_label: str = ""
    log: bool = False  # of y


def read_curve(log: Path, y: str, x: str = "step", name: str = "", dashed: bool = False) -> Curve:
    """The values of key `y` ("mlm/loss", "vqa/accuracy") over key `x` in the log of a run.
    Of two records with one x the later counts.

    y may be a key of a training step or of the scores of an evaluation.
    """
    found: dict[float, float] = {}
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line a killed run did not finish
        values = {**record, **record.get("scores", {})}
        if isinstance(values.get(x), int | float) and isinstance(values.get(y), int | float):
            found[values[x]] = values[y]
    return Curve(name or y, tuple(found), tuple(found.values()), dashed)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart), the first at or below `low`, the last at or above `high`."""
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten (powers alone when there are many) that enclose [low, high]."""
    marks = (1,) if high / low > 1e3 else (1, 2, 5)
    values = [m * 10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in marks]
    first = max((i for i, v in enumerate(values) if v <= low), default=0)
    last = min((i for i, v in enumerate(values) if v >= high), default=len(values) - 1)
    return values[first : max(last, first + 1) + 1]


def label(value: float) -> str:
    """1500 -> 1.5k, 2000000 -> 2M, 0.30000001 -> 0.3"""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Moving averages over a twentieth of the curve, at most POINTS of them."""
    half = len(points) // 40
    if half == 0:
        return points
    every = max(1, len(points) // POINTS)
    kept = sorted({*range(0, len(points), every), len(points) - 1})
    windows = [(points[i][0], points[max(0, i - half) : i + half + 1]) for i in kept]
    return [(x, sum(y for _, y in window) / len(window)) for x, window in windows]


def _scale(values: list[float], start: float, end: float, log: bool) -> Callable[[float], float]:
    f = math.log10 if log else float
    low, high = f(values[0]), f(values[-1])
    return lambda value: round(start + (f(value) - low) / (high - low) * (end - start), 1)


def _axes(plot: Plot, across: list[float], up: list[float], x: Callable, y: Callable) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in up:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 3.5}" text-anchor="end">{label(value)}</text>')
    for value in across:
        parts.append(f'<line class="tick" x1="{x(value)}" x2="{x(value)}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x(value)}" y="{bottom + 16}" text-anchor="middle">{label(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(plot.x_label)}</text>')
    return parts


def _line(points: list[tuple[float, float]], x: Callable, y: Callable, css: str) -> str:
    if len(points) == 1:
        return f'<circle class="{css}" cx="{x(points[0][0])}" cy="{y(points[0][1])}" r="2.5"/>'
    path = " ".join(f"{x(a)},{y(b)}" for a, b in points)
    return f'<polyline class="{css}" points="{path}"/>'


def draw(plot: Plot) -> str:
    """A figure: title, legend with the last value of each curve, SVG.
    Long noisy curves are drawn faint under their moving average."""
    curves = [(curve, points) for curve in plot.curves if (points := curve.points(plot.log))]
    title = f"<figcaption><b>{escape(plot.title)}</b>"
    if not curves:
        return f'<figure class="plot">{title}</figcaption><p class="empty">nothing was logged</p></figure>'
    xs = [a for _, points in curves for a, _ in points]
    ys = [b for _, points in curves for _, b in points]
    across = ticks(min(xs), max(xs), about=7)
    up = log_ticks(min(ys), max(ys)) if plot.log else ticks(min(ys), max(ys))
    if len(across) > 2 and across[-1] > max(xs):  # the curve ends at the edge, not at the next round number
        across.pop()
    x = _scale([across[0], max(across[-1], max(xs))], LEFT, WIDTH - RIGHT, False)
    y = _scale(up, HEIGHT - BOTTOM, TOP, plot.log)
    lines, legend = [], []
    for i, (curve, points) in enumerate(curves):
        colour = f"s{i % COLOURS}"
        line = points if curve.dashed else smooth(points)
        if line is not points:
            every = max(1, len(points) // (3 * POINTS))
            lines.insert(0, _line(points[::every], x, y, f"{colour} raw"))
        lines.append(_line(line, x, y, f"{colour} dashed" if curve.dashed else colour))
        kind = f"{colour} dashed" if curve.dashed else colour
        legend.append(f'<span><i class="{kind}"></i>{escape(curve.name)} <em>{line[-1][1]:.3g}</em></span>')
    unit = f" <small>{escape(plot.y_label)}</small>" if plot.y_label else ""
    svg = "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.title)}">',
            *_axes(plot, across, up, x, y),
            *lines,
            "</svg>",
        ]
    )
    return (
        f'<figure class="plot">{title}{unit}<div class="legend">{"".join(legend)}</div></figcaption>\n{svg}\n</figure>'
    )
