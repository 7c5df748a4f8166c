"""Open Images (Kuznetsova et al. 2020): 600 classes with boxes, and labels that people saw not to be there."""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vlfuse.data.convert.report import Pictures, Report, find
from vlfuse.types import DataError, Region, Sample

SPLIT = re.compile(r"train|validation|test")


def convert_open_images(source: Path, out: Path) -> Report:
    """source: folder with `*SPLIT-annotations-bbox.csv`, `*class-descriptions-boxable.csv`, where wanted
    `*SPLIT-annotations-human-imagelabels-boxable.csv`, and pictures `ID.jpg` anywhere below it.

    Writes `out/SPLIT.jsonl`; a box around a group is a crowd, and `absent` are labels that people judged not to be
    there. Rows are boxes. Pictures stay where they are; the records name them relative to `out`.
    """
    report, pictures = Report(), Pictures(source)
    listings = find(source, "*annotations-bbox.csv", "Open Images")
    (described,) = find(source, "*class-descriptions-boxable.csv", "Open Images")[:1]
    with described.open(encoding="utf-8", newline="") as file:
        names = {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}
    for listing in listings:
        match = SPLIT.search(listing.name)
        split = match[0] if match else listing.stem
        absent = _absent(source, split, names)
        report.write(out / f"{split}.jsonl", _samples(listing, names, absent, pictures, split, out, report))
    return report


def _rows(listing: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    with listing.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [key for key in needed if key not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{listing} has no column {', '.join(missing)}: this is not a folder of Open Images")
        yield from reader


def _absent(source: Path, split: str, names: dict[str, str]) -> dict[str, list[str]]:
    """The labels with confidence 0, by picture."""
    found: dict[str, list[str]] = {}
    for listing in sorted(source.glob(f"*{split}-annotations-human-imagelabels-boxable.csv")):
        for row in _rows(listing, ("ImageID", "LabelName", "Confidence")):
            if float(row["Confidence"]) == 0 and row["LabelName"] in names:
                found.setdefault(row["ImageID"], []).append(names[row["LabelName"]])
    return found


def _samples(
    listing: Path,
    names: dict[str, str],
    absent: dict[str, list[str]],
    pictures: Pictures,
    split: str,
    out: Path,
    report: Report,
) -> Iterator[Sample]:
    rows = _rows(listing, ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"))
    for name, group in itertools.groupby(rows, key=lambda row: row["ImageID"]):  # the file is in order of pictures
        own, picture = list(group), pictures.find(f"{name}.jpg")
        if picture is None:
            report.drop("picture is missing", len(own))
            continue
        try:
            with Image.open(picture) as opened:
                size = opened.size
        except (OSError, UnidentifiedImageError):
            report.drop("picture cannot be read", len(own))
            continue
        regions = tuple(region for row in own if (region := _region(row, names, size, report)) is not None)
        not_there = tuple(dict.fromkeys(absent.get(name, ())))
        yield Sample(name, (os.path.relpath(picture, out),), regions=regions, absent=not_there, split=split)


def _region(row: dict[str, str], names: dict[str, str], size: tuple[int, int], report: Report) -> Region | None:
    label = names.get(row["LabelName"])
    if not label:
        return report.drop("label that the class descriptions do not name")
    try:
        corners = [float(row[key]) * size[place % 2] for place, key in enumerate(("XMin", "YMin", "XMax", "YMax"))]
    except (TypeError, ValueError):
        corners = []
    box = report.box(corners, *size)
    if box is None:
        return report.drop("box cannot be used")
    report.keep()
    return Region(box, label, iscrowd=int(row.get("IsGroupOf") == "1"))
