"""Flickr30k Entities (Plummer et al. 2015): sentences whose phrases are marked, and boxes of what they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from vlfuse.data.convert.report import Pictures, Report, find
from vlfuse.types import Box, DataError, Phrase, Sample

MARKED = re.compile(r"\[/EN#(\d+)((?:/[^\s\]/]+)+)\s+([^\]]*)\]")


@dataclass(frozen=True)
class Marked:
    """A phrase of a sentence: its characters [start, end), the thing it names and what sort of thing that is."""

    span: tuple[int, int]
    text: str
    first_word: int
    thing: str
    kinds: tuple[str, ...]


@dataclass
class Things:
    """What one annotation file says: boxes [xmin, ymin, xmax, ymax] of each thing as written (pixels counted from 1,
    both ends inside), things without a box, and those that are the whole scene."""

    width: int = 0
    height: int = 0
    depth: int = 0
    boxes: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    nobox: list[str] = field(default_factory=list)
    scene: list[str] = field(default_factory=list)


def convert_flickr30k(source: Path, out: Path) -> Report:
    """source: folder with `Sentences/ID.txt`, `Annotations/ID.xml`, pictures `ID.jpg` anywhere below it and, if wanted,
    the lists `train.txt`, `val.txt`, `test.txt` of ids.

    Writes `out/SPLIT.jsonl` (`all.jsonl` without lists), one sample a picture with its sentences and those phrases that
    have boxes. Rows are phrases. Pictures stay where they are; the records name them relative to `out`.
    """
    report = Report()
    found = find(source, "Sentences/*.txt", "Flickr30k Entities")
    lists = [path for path in (source / f"{split}.txt" for split in ("train", "val", "test")) if path.is_file()]
    pictures = Pictures(source)
    everything = {path.stem: path for path in found}
    splits = {path.stem: path.read_text(encoding="utf-8").split() for path in lists} or {"all": sorted(everything)}
    for split, names in splits.items():
        samples = (_sample(name, everything.get(name), source, pictures, split, out, report) for name in names)
        report.write(out / f"{split}.jsonl", (sample for sample in samples if sample is not None))
    return report


def _sample(
    name: str, sentences: Path | None, source: Path, pictures: Pictures, split: str, out: Path, report: Report
) -> Sample | None:
    annotation, picture = source / "Annotations" / f"{name}.xml", pictures.find(f"{name}.jpg")
    if sentences is None or not annotation.is_file():
        return report.drop("picture of the list without sentences or annotations")
    parsed = [parse_sentence(line) for line in sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    number = sum(len(marked) for _, marked in parsed)
    if picture is None:
        return report.drop("picture is missing", max(number, 1))
    things = parse_annotation(annotation.read_text(encoding="utf-8"), str(annotation))
    boxes = {thing: list(_boxes(things, thing, report)) for thing in things.boxes}
    phrases = [
        Phrase(caption, marked.span, tuple(boxes[marked.thing]), marked.kinds)
        for caption, (_, group) in enumerate(parsed)
        for marked in group
        if _usable(marked, things, boxes, report)
    ]
    captions = tuple(text for text, _ in parsed)
    return Sample(name, (os.path.relpath(picture, out),), captions, phrases=tuple(phrases), split=split)


def _boxes(things: Things, thing: str, report: Report) -> Iterator[Box]:
    for x0, y0, x1, y1 in things.boxes[thing]:
        box = report.box((x0 - 1, y0 - 1, x1, y1), things.width, things.height)
        if box is not None:
            yield box


def _usable(marked: Marked, things: Things, boxes: dict[str, list[Box]], report: Report) -> bool:
    if boxes.get(marked.thing):
        return report.keep()
    if marked.thing in things.scene:
        return bool(report.drop("phrase names the whole scene"))
    if "notvisual" in marked.kinds:
        return bool(report.drop("phrase names nothing visible"))
    return bool(report.drop("phrase has no usable box"))


def parse_sentence(line: str) -> tuple[str, list[Marked]]:
    """`[/EN#1/people A man] runs .` -> the sentence without marks, and its phrases in order of appearance."""
    text, phrases, end = "", [], 0
    line = line.strip()
    for match in MARKED.finditer(line):
        text += line[end : match.start()]
        words = " ".join(match[3].split())
        span, kinds = (len(text), len(text) + len(words)), tuple(match[2].strip("/").split("/"))
        if words:
            phrases.append(Marked(span, words, len(text.split()), match[1], kinds))
        text, end = text + words, match.end()
    return text + line[end:], phrases


def parse_annotation(xml: str, origin: str = "the annotation") -> Things:
    """Raises DataError where it is not an annotation of the format."""
    try:
        root = ElementTree.fromstring(xml)
        width, height, depth = (int(root.findtext(f"size/{name}", "0")) for name in ("width", "height", "depth"))
        things = Things(width, height, depth)
        for entry in root.iter("object"):
            names, corners = [name.text or "" for name in entry.iter("name")], entry.find("bndbox")
            if corners is not None:
                box = tuple(float(corners.findtext(key, "nan")) for key in ("xmin", "ymin", "xmax", "ymax"))
                for name in names:
                    things.boxes.setdefault(name, []).append(box)
            else:
                things.nobox += names if int(entry.findtext("nobndbox", "0")) else []
                things.scene += names if int(entry.findtext("scene", "0")) else []
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{origin} is not an annotation of Flickr30k Entities ({error}); fetch it again") from error
    return things
