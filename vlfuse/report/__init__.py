"""One self-contained HTML page that shows what a model does: a table, answers about pictures, pictures found, curves.

No scripts and nothing fetched: pictures are inlined, so the file can be mailed and opened anywhere.
"""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from vlfuse.data.images import load_image
from vlfuse.report.plot import Curve, Plot, draw, read_curve
from vlfuse.types import ImageSource

__all__ = [
    "Asked",
    "Curve",
    "DemoReport",
    "Found",
    "Judged",
    "Pair",
    "Plot",
    "Retrieved",
    "Row",
    "read_curve",
    "write_report",
]

LONGEST_SIDE = 320  # pixels of an inlined picture; more would only make the file heavy


@dataclass(frozen=True)
class Row:
    """One line of the table. All values are fractions in [0, 1]; None where there is nothing to compare with."""

    task: str
    metric: str
    reached: float
    chance: float | None = None
    text_only: float | None = None
    shipped: float | None = None


@dataclass(frozen=True)
class Judged:
    """A question or statement, what the model said of it (with its probability), and what is true."""

    text: str
    answer: str
    truth: str
    score: float | None = None

    @property
    def right(self) -> bool:
        return self.answer == self.truth


@dataclass(frozen=True)
class Asked:
    image: ImageSource
    questions: tuple[Judged, ...]


@dataclass(frozen=True)
class Retrieved:
    """The pictures found for a sentence, best first. right: which of them (from 0) it was written for, None if none."""

    query: str
    images: tuple[ImageSource, ...]
    right: int | None


@dataclass(frozen=True)
class Pair:
    left: ImageSource
    right: ImageSource
    statements: tuple[Judged, ...]


@dataclass(frozen=True)
class Found:
    """A picture with boxes drawn in, and what was looked for."""

    image: ImageSource
    text: str


@dataclass(frozen=True)
class DemoReport:
    """Everything on the page; parts that are empty are left out. summary: paragraphs under the title; commands:
    how to make it again."""

    title: str
    summary: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    shipped_name: str = "fiber-nano as shipped"
    asked: tuple[Asked, ...] = ()
    retrieved: tuple[Retrieved, ...] = ()
    pairs: tuple[Pair, ...] = ()
    found: tuple[Found, ...] = ()
    plots: tuple[Plot, ...] = ()
    commands: tuple[str, ...] = ()


def write_report(report: DemoReport, path: str | os.PathLike[str]) -> None:
    """Write the page. Raises DataError for a picture that cannot be read."""
    sections = [
        _section("Results on pictures it never saw", _table(report)),
        _section("Questions about pictures", _grid("cards", [_asked(a) for a in report.asked])),
        _section("Pictures found for a sentence", "\n".join(_retrieved(r) for r in report.retrieved)),
        _section("Statements about two pictures", _grid("cards wide", [_pair(p) for p in report.pairs])),
        _section("Things found by their names", _grid("cards", [_found(f) for f in report.found])),
        _section("How it learned", _grid("plots", [draw(p) for p in report.plots])),
        _section("Make it again", _commands(report.commands)),
    ]
    style = Path(__file__).with_name("page.css").read_text()
    summary = "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in report.summary)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(report.title)}</h1>
{summary}
</header>
<main>
{"".join(sections)}</main>
</body>
</html>
"""
    Path(path).write_text(page, encoding="utf-8")


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>\n" if body else ""


def _grid(kind: str, items: Sequence[str]) -> str:
    return f'<div class="{kind}">\n' + "\n".join(items) + "\n</div>" if items else ""


def _picture(source: ImageSource, alt: str) -> str:
    picture = load_image(source)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", optimize=True)
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


# --- the table -------------------------------------------------------------------------------------------------


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _bar(row: Row) -> str:
    marks = [("shipped", row.shipped), ("blind", row.text_only), ("chance", row.chance)]
    drawn = "".join(f'<i class="{kind}" style="left:{100 * v:.2f}%"></i>' for kind, v in marks if v is not None)
    return f'<div class="bar"><b style="width:{100 * row.reached:.2f}%"></b>{drawn}</div>'


def _table(report: DemoReport) -> str:
    if not report.rows:
        return ""
    columns = [  # heading, class of its mark in the bars, value; a column nobody fills is left out
        ("text alone", "blind", [row.text_only for row in report.rows]),
        ("chance", "chance", [row.chance for row in report.rows]),
        (report.shipped_name, "shipped", [row.shipped for row in report.rows]),
    ]
    columns = [column for column in columns if any(value is not None for value in column[2])]
    heads = "".join(f'<th scope="col"><i class="key {kind}"></i>{escape(name)}</th>' for name, kind, _ in columns)
    lines = []
    for i, row in enumerate(report.rows):
        cells = "".join(f"<td>{_percent(values[i])}</td>" for _, _, values in columns)
        lines.append(
            f'<tr><th scope="row">{escape(row.task)} <small>{escape(row.metric)}</small>{_bar(row)}</th>'
            f'<td class="reached">{_percent(row.reached)}</td>{cells}</tr>'
        )
    return (
        '<div class="table"><table>\n<thead><tr><th scope="col">percent</th>'
        f'<th scope="col"><i class="key reached"></i>this run</th>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody>\n</table></div>"
    )


# --- pictures --------------------------------------------------------------------------------------------------


def _judged(judged: Judged) -> str:
    sure = "" if judged.score is None else f' <span class="sure">{100 * judged.score:.0f} %</span>'
    mend = "" if judged.right else f' <span class="truth">· should be {escape(judged.truth)}</span>'
    kind, mark, word = ("right", "✓", "right") if judged.right else ("wrong", "✗", "wrong")
    return (
        f'<li class="{kind}"><span class="says">{escape(judged.text)}</span>'
        f'<span class="answer"><b title="{word}">{mark} {escape(judged.answer)}</b>{sure}{mend}</span></li>'
    )


def _list(items: Sequence[Judged]) -> str:
    return "<ul>\n" + "\n".join(_judged(item) for item in items) + "\n</ul>"


def _asked(asked: Asked) -> str:
    return (
        f'<article class="card">{_picture(asked.image, "the picture asked about")}\n{_list(asked.questions)}</article>'
    )


def _retrieved(found: Retrieved) -> str:
    cells = []
    for i, image in enumerate(found.images):
        kind, mark, word = ("right", " ✓", ", the right one") if i == found.right else ("", "", "")
        picture = _picture(image, f"found at rank {i + 1}{word}")
        cells.append(f'<li class="{kind}">{picture}<span>{i + 1}{mark}</span></li>')
    if found.right is None:
        cells.append('<li class="none">the right one is not among them</li>')
    return f'<article class="search"><q>{escape(found.query)}</q>\n<ol>{"".join(cells)}</ol></article>'


def _pair(pair: Pair) -> str:
    pictures = _picture(pair.left, "left picture") + _picture(pair.right, "right picture")
    return f'<article class="card"><div class="two">{pictures}</div>\n{_list(pair.statements)}</article>'


def _found(found: Found) -> str:
    return f'<article class="card">{_picture(found.image, "what was found, in boxes")}<p>{escape(found.text)}</p></article>'


def _commands(commands: Sequence[str]) -> str:
    return f"<pre><code>{escape(chr(10).join(commands))}</code></pre>" if commands else ""
