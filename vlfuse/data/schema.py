"""The one record every dataset is made of, read strictly: a JSON object <-> `Sample`."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import fsspec

from vlfuse.data.problems import SampleError
from vlfuse.data.spans import LONE_SURROGATE, splits_character
from vlfuse.types import Box, DataError, Expression, Phrase, Question, Region, Sample, Span, Statement

STATEMENT_LABELS = ("true", "false", "entailment", "neutral", "contradiction")
MAX_TEXT = 100_000  # characters; a longer text is a mistake in the file, not a caption
MAX_ITEMS = 10_000  # entries of any list of a record

LISTS = ("captions", "regions", "phrases", "expressions", "questions", "statements", "absent", "partial")
KEYS = ("id", "image", "images", *LISTS, "split")


@dataclass(frozen=True, slots=True)
class _At:
    """A value inside a record and the place it stands at, so that every complaint names both."""

    value: Any
    place: str
    origin: str

    def fail(self, allowed: str) -> NoReturn:
        shown = repr(self.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise SampleError("record", self.origin, f"{self.place} is {shown}; {allowed}")

    def fields(self, allowed: tuple[str, ...], required: tuple[str, ...]) -> dict[str, _At]:
        if not isinstance(self.value, dict):
            self.fail(f"it must be a JSON object with the keys {', '.join(allowed)}")
        prefix = "" if self.place == "the record" else self.place + "."
        for key in self.value:
            if key not in allowed:
                self._keys(f"unknown key {key!r} in {self.place}", allowed, "remove or rename it")
        for key in required:
            if key not in self.value:
                self._keys(f"{self.place} has no {key!r}", required, "add it")
        return {key: _At(value, prefix + key, self.origin) for key, value in self.value.items()}

    def _keys(self, trouble: str, keys: tuple[str, ...], mend: str) -> NoReturn:
        raise SampleError("record", self.origin, f"{trouble}; keys here: {', '.join(keys)}; {mend}")

    def items(self) -> list[_At]:
        if not isinstance(self.value, list):
            self.fail("it must be a list")
        if len(self.value) > MAX_ITEMS:
            raise SampleError(
                "record", self.origin, f"{self.place} has {len(self.value)} entries; at most {MAX_ITEMS} are allowed"
            )
        return [_At(value, f"{self.place}[{i}]", self.origin) for i, value in enumerate(self.value)]

    def text(self, blank: bool = False) -> str:
        if not isinstance(self.value, str):
            self.fail("it must be a string in quotes")
        if not blank and not self.value.strip():
            self.fail("it must not be blank; leave the entry out")
        if len(self.value) > MAX_TEXT:
            self.fail(f"it has {len(self.value)} characters, at most {MAX_TEXT} are allowed; shorten or split it")
        if not self.value.isascii() and (half := LONE_SURROGATE.search(self.value)):
            self.fail(
                f"character {half.start()} is half of a surrogate pair, which no text has; save the file as UTF-8"
            )
        return self.value

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def name(self) -> str:
        """An identifier; whole numbers are taken as their digits."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        return self.text(blank=True)

    def whole(self, low: int, high: int) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            self.fail(f"it must be a whole number from {low} to {high}")
        return self.value

    def box(self) -> Box:
        form = "boxes are [x0, y0, x1, y1] in pixels of the stored picture"
        if not isinstance(self.value, list) or len(self.value) != 4:
            self.fail(f"{form}, four numbers")
        for number in self.value:
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                self.fail(f"{form}, four finite numbers")
        x0, y0, x1, y1 = (float(number) for number in self.value)
        if x0 < 0 or y0 < 0:
            self.fail(f"x0 and y0 must not be negative; {form}; clip the box to the picture")
        if x1 <= x0 or y1 <= y0:
            mend = "for COCO's [x, y, width, height] use `vlfuse data convert coco`"
            self.fail(f"x1 must exceed x0 and y1 must exceed y0; {form}; {mend}")
        return (x0, y0, x1, y1)

    def span(self, text: str, what: str) -> Span:
        """Characters [start, end) of `text`."""
        numbers = [item.whole(0, len(text)) for item in self.items()]
        if len(numbers) != 2 or numbers[0] >= numbers[1]:
            self.fail(f"spans are [start, end) with start < end; {what} has {len(text)} characters")
        for number in numbers:
            if splits_character(text, number):
                near = text[max(number - 3, 0) : number + 3]
                self.fail(f"{number} lies inside a character of {what}, near {near!r}; count whole characters")
        return (numbers[0], numbers[1])


def parse_sample(record: Any, origin: str, root: str = "") -> Sample:
    """Check one record and build its sample.

    record: the decoded JSON object. origin: "file:line", for messages. root: folder or URL that relative image paths
    start from. Raises SampleError (a DataError) at the first thing that is not as the schema says.
    """
    top = _At(record, "the record", origin).fields(KEYS, ())
    if ("image" in top) == ("images" in top):
        raise SampleError("record", origin, "a record has either 'image' (one path) or 'images' (one or two paths)")
    images = (top["image"].text(),) if "image" in top else top["images"].texts()
    if len(images) not in (1, 2):
        top["images"].fail(f"it names {len(images)} pictures; one or two are allowed")
    captions = top["captions"].texts() if "captions" in top else ()
    return Sample(
        id=top["id"].name() if "id" in top else "",
        images=tuple(_resolve(image, root) for image in images),
        captions=captions,
        regions=tuple(_region(item) for item in _items(top, "regions")),
        phrases=tuple(_phrase(item, captions) for item in _items(top, "phrases")),
        expressions=tuple(_expression(item) for item in _items(top, "expressions")),
        questions=tuple(_question(item) for item in _items(top, "questions")),
        statements=tuple(_statement(item) for item in _items(top, "statements")),
        absent=top["absent"].texts() if "absent" in top else (),
        partial=top["partial"].texts() if "partial" in top else (),
        split=top["split"].name() if "split" in top else "",
        origin=origin,
    )


def _items(top: dict[str, _At], key: str) -> list[_At]:
    return top[key].items() if key in top else []


def _resolve(image: str, root: str) -> str:
    if "://" in image or posixpath.isabs(image):
        return image
    return posixpath.join(root, image)


def _region(at: _At) -> Region:
    got = at.fields(("box", "label", "attributes", "iscrowd"), ("box", "label"))
    return Region(
        box=got["box"].box(),
        label=got["label"].text(),
        attributes=got["attributes"].texts() if "attributes" in got else (),
        iscrowd=got["iscrowd"].whole(0, 1) if "iscrowd" in got else 0,
    )


def _phrase(at: _At, captions: tuple[str, ...]) -> Phrase:
    got = at.fields(("caption", "span", "boxes", "kinds"), ("caption", "span", "boxes"))
    if not captions:
        at.fail("the record has no captions it could belong to")
    caption = got["caption"].whole(0, len(captions) - 1)
    span = got["span"].span(captions[caption], f"caption {caption}")
    boxes = tuple(item.box() for item in got["boxes"].items())
    if not boxes:
        got["boxes"].fail("a phrase names at least one box; leave the phrase out")
    return Phrase(caption, span, boxes, got["kinds"].texts() if "kinds" in got else ())


def _expression(at: _At) -> Expression:
    got = at.fields(("text", "box", "spans"), ("text", "box"))
    text = got["text"].text()
    spans = tuple(item.span(text, "the expression") for item in got["spans"].items()) if "spans" in got else ()
    return Expression(text, got["box"].box(), spans)


def _question(at: _At) -> Question:
    got = at.fields(("id", "question", "answers"), ("question",))
    answers = tuple(item.text(blank=True) for item in got["answers"].items()) if "answers" in got else ()
    return Question(question=got["question"].text(), answers=answers, id=got["id"].name() if "id" in got else "")


def _statement(at: _At) -> Statement:
    got = at.fields(("text", "label"), ("text",))
    label = ""
    if "label" in got:
        value = got["label"].value
        label = str(value).lower() if isinstance(value, bool) else value  # JSON's own true and false are welcome
        if label not in STATEMENT_LABELS:
            got["label"].fail(f"it must be one of {', '.join(STATEMENT_LABELS)}; leave it out where unknown")
    return Statement(text=got["text"].text(), label=label)


def to_record(sample: Sample, root: str = "") -> dict[str, Any]:
    """The JSON object of a sample; `parse_sample` of it, with the same root, gives the sample back.

    Image paths below `root` are written relative to it. Raises DataError for pictures that are not paths.
    """
    for image in sample.images:
        if not isinstance(image, str):
            raise DataError(
                f"sample '{sample.id}' holds a picture as {type(image).__name__}; save it to a file and name its path"
            )
    paths = [_relative(str(image), root) for image in sample.images]
    record: dict[str, Any] = {"id": sample.id} if sample.id else {}
    record |= {"image": paths[0]} if len(paths) == 1 else {"images": paths}
    record |= {"captions": list(sample.captions)} if sample.captions else {}
    if sample.regions:
        record["regions"] = [
            {"box": list(r.box), "label": r.label}
            | ({"attributes": list(r.attributes)} if r.attributes else {})
            | ({"iscrowd": r.iscrowd} if r.iscrowd else {})
            for r in sample.regions
        ]
    if sample.phrases:
        record["phrases"] = [
            {"caption": p.caption, "span": list(p.span), "boxes": [list(box) for box in p.boxes]}
            | ({"kinds": list(p.kinds)} if p.kinds else {})
            for p in sample.phrases
        ]
    if sample.expressions:
        record["expressions"] = [
            {"text": e.text, "box": list(e.box)} | ({"spans": [list(span) for span in e.spans]} if e.spans else {})
            for e in sample.expressions
        ]
    if sample.questions:
        record["questions"] = [
            ({"id": q.id} if q.id else {})
            | {"question": q.question}
            | ({"answers": list(q.answers)} if q.answers else {})
            for q in sample.questions
        ]
    if sample.statements:
        record["statements"] = [{"text": s.text} | ({"label": s.label} if s.label else {}) for s in sample.statements]
    record |= {key: list(labels) for key in ("absent", "partial") if (labels := getattr(sample, key))}
    return record | ({"split": sample.split} if sample.split else {})


def _relative(path: str, root: str) -> str:
    prefix = root.rstrip("/") + "/"
    return path.removeprefix(prefix) if root else path


def write_jsonl(path: str, samples: Iterable[Sample]) -> int:
    """Write samples as lines of a JSONL file, image paths relative to it; returns how many."""
    root, count = posixpath.dirname(path), 0
    with fsspec.open(path, "w", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(to_record(sample, root), ensure_ascii=False) + "\n")  # type: ignore[union-attr]
            count += 1
    return count
