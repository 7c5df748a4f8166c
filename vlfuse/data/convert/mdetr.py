"""MDETR's grounding files (Kamath et al. 2021): captions with boxes whose characters are marked. Mixed data, Flickr30k
and RefCOCO/+/g come in this form, also for FIBER and GLIP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlfuse.data.boxes import from_size
from vlfuse.data.convert.report import Pictures, Report, find, read_json
from vlfuse.data.spans import check_spans
from vlfuse.types import Box, DataError, Expression, Phrase, Sample, Span

REFERRING = "refcoco"  # dataset_name begins with it where a caption means one thing


def convert_mdetr(source: Path, out: Path) -> Report:
    """source: folder with such `*.json`, in it or in `annotations/`, and the pictures they name anywhere below it.

    Writes `out/FILE.jsonl`, one sample a picture: with captions and phrases, or for RefCOCO/+/g with expressions. Rows
    are boxes. Pictures stay where they are; the records name them relative to `out`.
    """
    report, pictures, written = Report(), Pictures(source), False
    for listing in sorted([*source.glob("*.json"), *source.glob("annotations/*.json")]):
        content = read_json(listing)
        if not isinstance(content, dict) or not any("caption" in image for image in content.get("images", ())):
            continue  # other files may lie beside
        report.write(out / f"{listing.stem}.jsonl", _samples(content, pictures, listing.stem, out, report))
        written = True
    if not written:
        find(source, "*.json with captions and 'tokens_positive'", "MDETR's grounding files")
    return report


def _samples(content: dict[str, Any], pictures: Pictures, split: str, out: Path, report: Report) -> list[Sample]:
    rows: dict[Any, list[dict[str, Any]]] = {}
    for row in content.get("annotations", ()):
        rows.setdefault(row.get("image_id"), []).append(row)
    told: dict[str, list[dict[str, Any]]] = {}
    for image in content["images"]:
        told.setdefault(str(image["file_name"]), []).append(image)
    samples = []
    for name, images in told.items():
        picture = pictures.find(name)
        if picture is None:
            report.drop("picture is missing", sum(len(rows.pop(image["id"], ())) for image in images))
            continue
        sample = Sample(
            str(images[0].get("original_img_id", picture.stem)), (os.path.relpath(picture, out),), split=split
        )
        samples.append(_filled(sample, images, rows, report))
    report.drop("box of a caption that is not listed", sum(map(len, rows.values())))
    return samples


def _filled(
    sample: Sample, images: list[dict[str, Any]], rows: dict[Any, list[dict[str, Any]]], report: Report
) -> Sample:
    captions: list[str] = []
    phrases: list[Phrase] = []
    expressions: list[Expression] = []
    for image in images:
        caption = str(image.get("caption", ""))
        given = rows.pop(image["id"], [])
        if not caption.strip():
            report.drop("caption is blank", len(given))
            continue
        boxes = [named for row in given if (named := _named(row, caption, image, report)) is not None]
        if str(image.get("dataset_name", "")).startswith(REFERRING):
            expressions += [Expression(caption, box, spans) for box, spans in boxes]
            continue
        by_span: dict[Span, list[Box]] = {}
        for box, spans in boxes:
            for span in spans:
                by_span.setdefault(span, []).append(box)
        phrases += [Phrase(len(captions), span, tuple(by_span[span])) for span in sorted(by_span)]
        captions.append(caption)
    return Sample(sample.id, sample.images, tuple(captions), (), tuple(phrases), tuple(expressions), split=sample.split)


def _named(
    row: dict[str, Any], caption: str, image: dict[str, Any], report: Report
) -> tuple[Box, tuple[Span, ...]] | None:
    spans = spans_of(row.get("tokens_positive"), caption)
    if not spans:
        return report.drop("box without words, or with words outside its caption")
    if row.get("iscrowd"):
        return report.drop("box of a crowd")
    size = (image.get("width") or float("inf"), image.get("height") or float("inf"))
    box = report.box(from_size(row.get("bbox")), *size)
    if box is None:
        return report.drop("box cannot be used")
    report.keep()
    return box, spans


def spans_of(given: Any, text: str) -> tuple[Span, ...]:
    """[[start, end], ...] as spans of `text`; empty unless every one of them is."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return ()
    try:
        spans = tuple((int(start), int(end)) for start, end in given)
        check_spans(text, spans)
    except (DataError, TypeError, ValueError):
        return ()
    return spans
