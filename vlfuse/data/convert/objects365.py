"""Objects365 (Shao et al. 2019): 365 categories, in its own JSON or in the TSV files made for GLIP's training."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlfuse.data.coco import CocoDataset
from vlfuse.data.convert.coco import write_pictures
from vlfuse.data.convert.report import Pictures, Report, find
from vlfuse.types import DataError, Region, Sample


def convert_objects365(source: Path, out: Path) -> Report:
    """source: folder with `zhiyuan_objv2_SPLIT.json` (or `objects365*.json`), in it or in `annotations/`, and pictures
    anywhere below; or with a `NAME.yaml` that names TSV files under the keys `img` and `label`.

    Writes `out/FILE.jsonl`; pictures stay where they are, but those in TSV are written to `out/images/`.
    Rows are pictures.
    """
    report = Report()
    sheets = sorted(source.glob("*.yaml"))
    names = ("zhiyuan*.json", "objects365*.json")
    listings = sorted(
        path for folder in (source, source / "annotations") for name in names for path in folder.glob(name)
    )
    if not sheets and not listings:
        find(source, "zhiyuan*.json", "Objects365")
    pictures = Pictures(source)
    for listing in listings:
        dataset = CocoDataset([str(listing)], ".")
        write_pictures(report, dataset, pictures, out, listing.stem)
    for sheet in sheets:
        report.write(out / f"{sheet.stem}.jsonl", _samples(sheet, out, report))
    return report


def _samples(sheet: Path, out: Path, report: Report) -> Iterator[Sample]:
    entries = (line.partition(":") for line in sheet.read_text(encoding="utf-8").splitlines())
    files = {key.strip(): value.strip().strip("\"'") for key, _, value in entries}
    if not {"img", "label"} <= files.keys():
        raise DataError(f"{sheet} names no 'img' and 'label' files: this is not a folder of Objects365 in TSV")
    (out / "images").mkdir(parents=True, exist_ok=True)
    labels = {key: columns[0] for key, *columns in _rows(sheet.parent / files["label"]) if columns}
    for key, *columns in _rows(sheet.parent / files["img"]):
        try:
            content = base64.b64decode(columns[-1], validate=True) if columns else b""
            objects = json.loads(labels.get(key, "null"))
        except (binascii.Error, json.JSONDecodeError):
            report.drop("row cannot be decoded")
            continue
        if not content or not isinstance(objects, list):
            report.drop("row without picture or without list of objects")
            continue
        path = out / "images" / f"{os.path.basename(key)}.jpg"
        path.write_bytes(content)
        report.keep()
        yield Sample(key, (str(path),), regions=tuple(_regions(objects, report)), split=sheet.stem)


def _rows(path: Path) -> Iterator[list[str]]:
    if not path.is_file():
        raise DataError(f"there is no file {path}; put it beside the yaml that names it")
    with path.open(encoding="utf-8") as file:
        yield from (line.rstrip("\n").split("\t") for line in file if line.strip())


def _regions(objects: list[Any], report: Report) -> Iterator[Region]:
    for entry in objects:
        if not isinstance(entry, dict) or not str(entry.get("class", "")).strip():
            report.boxes["box without a class"] += 1
            continue
        box = report.box(entry.get("rect"), float("inf"), float("inf"))
        if box is not None:
            yield Region(box, str(entry["class"]).strip())
