"""ODVG (Grounding DINO's open re-implementations): a JSON object a line,
with boxes of classes or of a caption's phrases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vlfuse.data.convert.mdetr import spans_of
from vlfuse.data.convert.report import Pictures, Report, find, read_json, rows
from vlfuse.types import Box, Phrase, Region, Sample, Span


def convert_odvg(source: Path, out: Path) -> Report:
    """source: folder with `*.jsonl` or `*.json` of such lines, where wanted `*label_map*.json` (number -> name), and
    pictures anywhere below it. Boxes are [x0, y0, x1, y1].

    Writes `out/FILE.jsonl`: "detection" becomes regions, "grounding" a caption with phrases, found by their
    `tokens_positive` or by their words. Rows are boxes. Pictures stay where they are;
    the records name them relative to `out`.
    """
    report, pictures = Report(), Pictures(source)
    maps = sorted(source.glob("*label_map*.json"))
    names = {str(key): str(value) for path in maps for key, value in read_json(path).items()}
    listings = sorted({*source.glob("*.jsonl"), *source.glob("*.json")} - set(maps))
    for listing in listings or find(source, "*.jsonl", "ODVG"):
        report.write(out / f"{listing.stem}.jsonl", _samples(listing, names, pictures, out, report))
    return report


def _samples(listing: Path, names: dict[str, str], pictures: Pictures, out: Path, report: Report) -> Iterator[Sample]:
    for number, row in enumerate(rows(listing), start=1):
        detection, grounding = row.get("detection") or {}, row.get("grounding") or {}
        instances, regions = detection.get("instances") or [], grounding.get("regions") or []
        picture = pictures.find(str(row.get("filename", "")))
        if picture is None:
            report.drop("picture is missing", len(instances) + len(regions))
            continue
        size = (row.get("width") or float("inf"), row.get("height") or float("inf"))
        caption = str(grounding.get("caption") or "")
        found = (_region(instance, names, size, report) for instance in instances)
        told = [phrase for region in regions for phrase in _phrases(region, caption, size, report)]
        yield Sample(
            id=f"{listing.stem}-{number}",
            images=(os.path.relpath(picture, out),),
            captions=(caption,) if caption.strip() else (),
            regions=tuple(region for region in found if region is not None),
            phrases=tuple(told),
            split=listing.stem,
        )


def _region(
    instance: dict[str, Any], names: dict[str, str], size: tuple[float, float], report: Report
) -> Region | None:
    label = str(instance.get("category") or names.get(str(instance.get("label")), "")).strip()
    if not label:
        return report.drop("box without a category, or with a label that no label map names")
    box = report.box(instance.get("bbox"), *size)
    if box is None:
        return report.drop("box cannot be used")
    report.keep()
    return Region(box, label)


def _phrases(region: dict[str, Any], caption: str, size: tuple[float, float], report: Report) -> list[Phrase]:
    """A row may have several boxes for its phrase, and several phrases."""
    spans = spans_of(region.get("tokens_positive"), caption) or _spans(region.get("phrase"), caption)
    if not spans:
        report.drop("phrase is not in its caption")
        return []
    given = region.get("bbox")
    several = isinstance(given, Sequence) and len(given) > 0 and isinstance(given[0], Sequence)
    listed: Sequence[Any] = given if several else [given]  # type: ignore[assignment]  # `several` says so
    boxes: list[Box] = [box for one in listed if (box := report.box(one, *size)) is not None]
    if not boxes:
        report.drop("box cannot be used")
        return []
    report.keep()
    return [Phrase(0, span, tuple(boxes)) for span in spans]


def _spans(phrases: Any, caption: str) -> tuple[Span, ...]:
    """Where each phrase first stands in the caption, letter case aside; empty unless all do."""
    words = [phrases] if isinstance(phrases, str) else list(phrases or ())
    found = [re.search(re.escape(str(word)), caption, re.IGNORECASE) if str(word).strip() else None for word in words]
    spans = tuple(match.span() for match in found if match is not None)
    return spans if len(spans) == len(words) else ()
