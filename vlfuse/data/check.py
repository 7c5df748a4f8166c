"""Looking at a dataset before training on it: what is unusable, what is in it, what it looks like."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlfuse.data.boxes import CUT, OUTSIDE, tidy
from vlfuse.data.coco import CocoDataset
from vlfuse.data.drawing import draw_boxes
from vlfuse.data.images import load_oriented, stored_size, upright_box
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.types import Box, ImageSource, Sample


@dataclass
class Report:
    """What `check` found. problems: one error (kind, origin, message) for each unusable sample; a run would do without
    these. remarks: what works but may not be meant, with the origins: repeated ids,
    boxes that reach or lie outside their picture."""

    samples: int = 0
    pictures: int = 0
    texts: int = 0
    truncated: int = 0  # texts longer than the model reads; their ends are cut off
    problems: list[SampleError] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)  # unusable annotations of COCO files, by what is wrong

    @property
    def usable(self) -> int:
        return self.samples - len(self.problems)

    def by_kind(self) -> dict[str, int]:
        return dict(Counter(problem.kind for problem in self.problems))


def check(dataset: Dataset, tokenizer: Tokenizer | None = None, max_text: int = 40) -> Report:
    """Read every record and decode every picture. With a tokenizer, count the texts cut off after `max_text` tokens."""
    report, ids = Report(samples=len(dataset)), set()
    if isinstance(dataset, CocoDataset):
        report.left_out.update(dataset.dropped)
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
            for number, source in enumerate(sample.images):
                picture, orientation = load_oriented(source, sample.origin)
                for remark in _remarks(sample, picture, orientation) if number == 0 else ():
                    report.remarks.setdefault(remark, []).append(sample.origin)
        except SampleError as error:
            report.problems.append(error)
            continue
        report.pictures += len(sample.images)
        if sample.id and sample.id in ids:
            report.remarks.setdefault("id occurs twice", []).append(sample.origin)
        ids.add(sample.id)
        texts = list(_texts(sample))
        report.texts += len(texts)
        if tokenizer is not None and texts:
            report.truncated += int(tokenizer.encode_fully(texts, max_text).truncated.sum())
    return report


def _texts(sample: Sample) -> Iterator[str]:
    """What models read; answers and labels are not read."""
    yield from sample.captions
    yield from (question.question for question in sample.questions)
    yield from (statement.text for statement in sample.statements)
    yield from (expression.text for expression in sample.expressions)


def _boxes(sample: Sample) -> Iterator[tuple[Box, str]]:
    yield from ((region.box, " ".join([region.label, *region.attributes])) for region in sample.regions)
    yield from ((expression.box, expression.text) for expression in sample.expressions)
    for phrase in sample.phrases:
        words = sample.captions[phrase.caption][slice(*phrase.span)]
        yield from ((box, words) for box in phrase.boxes)


def _remarks(sample: Sample, picture: Image.Image, orientation: int) -> set[str]:
    size = stored_size(picture, orientation)
    return {REMARKS[trouble] for box, _ in _boxes(sample) if (trouble := tidy(box, *size)[1]) in REMARKS}


@dataclass
class Stats:
    """Counts over the usable records of a dataset (pictures are not opened)."""

    samples: int = 0
    unusable: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)  # how many captions, questions, regions ...
    words: dict[str, Counter[int]] = field(default_factory=dict)  # of each kind of text: how many have so many words
    answers: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)  # by label
    regions: Counter[str] = field(default_factory=Counter)  # by label

    def majority(self) -> float | None:
        """Share of the most frequent answer: what a model reaches that always gives it. None without answers."""
        return self.answers.most_common(1)[0][1] / self.answers.total() if self.answers else None


def stats(dataset: Dataset) -> Stats:
    result = Stats(samples=len(dataset))
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except SampleError:
            result.unusable += 1
            continue
        result.splits[sample.split] += 1
        result.items["pictures"] += len(sample.images)
        for kind in ("captions", "regions", "phrases", "expressions", "questions", "statements"):
            result.items[kind] += len(getattr(sample, kind))
        texts = {
            "captions": sample.captions,
            "questions": tuple(question.question for question in sample.questions),
            "statements": tuple(statement.text for statement in sample.statements),
            "expressions": tuple(expression.text for expression in sample.expressions),
        }
        for kind, values in texts.items():
            result.words.setdefault(kind, Counter()).update(len(value.split()) for value in values)
        result.answers.update(Counter(q.answers).most_common(1)[0][0] for q in sample.questions if q.answers)
        result.statements.update(statement.label or "unknown" for statement in sample.statements)
        result.regions.update(region.label for region in sample.regions)
    return result


REMARKS = {CUT: "box reaches outside the picture", OUTSIDE: "box lies outside the picture"}

PANEL, PICTURE, MARGIN, LINE = 320, 240, 8, 15  # pixels: width of a panel, height of its picture, gap, height of a line
LINES = 12  # of text below a picture, at most


def draw(dataset: Dataset, number: int = 12, seed: int | None = 0, columns: int = 3) -> Image.Image:
    """A contact sheet of samples, drawn at random (in order with seed None): pictures with their boxes, texts below.

    An unusable sample shows its error instead.
    """
    number = min(number, len(dataset))
    chosen = range(number) if seed is None else np.random.default_rng(seed).permutation(len(dataset))[:number]
    panels = [_panel(dataset, int(index)) for index in chosen]
    rows = [panels[start : start + columns] for start in range(0, number, columns)]
    heights = [max(panel.height for panel in row) for row in rows]
    width, height = columns * (PANEL + MARGIN) + MARGIN, sum(heights) + MARGIN * (len(rows) + 1)
    sheet, y = Image.new("RGB", (width, height), "white"), MARGIN
    for row, tallest in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            sheet.paste(panel, (MARGIN + column * (PANEL + MARGIN), y))
        y += tallest + MARGIN
    return sheet


def _panel(dataset: Dataset, index: int) -> Image.Image:
    pictures: list[Image.Image] = []
    try:
        sample = dataset[index]
        share = PANEL // len(sample.images)
        for number, source in enumerate(sample.images):
            pictures.append(_thumbnail(source, sample.origin, sample if number == 0 else None, share))
        lines = _lines(sample)
    except SampleError as error:
        lines = [f"UNUSABLE ({error.kind}): {error}"]
    wrapped = [piece for line in lines for piece in textwrap.wrap(line, 54)[:3]][:LINES]
    top = max((picture.height for picture in pictures), default=0)
    panel = Image.new("RGB", (PANEL, top + len(wrapped) * LINE + MARGIN), "#f4f4f4")
    for number, picture in enumerate(pictures):
        panel.paste(picture, (number * PANEL // len(pictures), 0))
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(11)
    for number, line in enumerate(wrapped):
        pen.text((4, top + 2 + number * LINE), line, fill="black", font=font)
    return panel


def _thumbnail(source: ImageSource, origin: str, sample: Sample | None, width: int) -> Image.Image:
    picture, orientation = load_oriented(source, origin)
    stored = stored_size(picture, orientation)
    scale = min(width / picture.width, PICTURE / picture.height)
    small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    labels: dict[Box, str] = {}
    for box, text in _boxes(sample) if sample else ():
        labels.setdefault(box, text)  # a region's own name comes before the phrases that speak of it
    turned = [(upright_box(box, orientation, stored), text) for box, text in labels.items()]
    draw_boxes(small, [(tuple(value * scale for value in box), text) for box, text in turned])  # type: ignore[misc]
    return small


def _lines(sample: Sample) -> list[str]:
    lines = [f"[{sample.id}] {sample.split}".strip()]
    lines += [f"· {caption}" for caption in sample.captions[:3]]
    for question in sample.questions[:3]:
        answers = ", ".join(answer for answer, _ in Counter(question.answers).most_common(3))
        lines.append(f"? {question.question} {answers}")
    lines += [f"= {statement.text} [{statement.label or 'unknown'}]" for statement in sample.statements[:3]]
    return lines
