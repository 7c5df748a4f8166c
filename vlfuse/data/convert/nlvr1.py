"""NLVR (Suhr et al. 2017): people's sentences, true or false of a picture of three trays with coloured shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlfuse.data.coco import corners
from vlfuse.data.convert.report import Report, extract_pictures, find, read_json, rows
from vlfuse.types import Expression, Region, Sample, Statement

TRAYS = ("left", "middle", "right")
PICTURE = {"width": 400, "height": 100}


def convert_nlvr1(source: Path, out: Path) -> Report:
    """source: folder with `annotations/SPLIT.jsonl` and `shards/SPLIT-*.tar`.
    Writes `out/SPLIT.jsonl` and `out/images/`."""
    report = Report()
    for listing in find(source, "annotations/*.jsonl", "NLVR"):
        split = listing.stem
        pictures = extract_pictures(find(source, f"shards/{split}-*.tar", "NLVR"), out / "images")
        expressions = _expressions(source / "annotations", split)
        samples = []
        for row in rows(listing):
            report.read += 1
            if row["file_name"] not in pictures:
                report.dropped["picture is in no shard"] += 1
                continue
            report.kept += 1
            samples.append(_sample(row, out, split, expressions.get(row["file_name"], ())))
        report.write(out / f"{split}.jsonl", samples)
    return report


def _sample(row: dict[str, Any], out: Path, split: str, expressions: tuple[Expression, ...]) -> Sample:
    regions = []
    columns = [row.get(key, ()) for key in ("boxes", "shapes", "colors", "sizes", "trays")]
    for bbox, shape, colour, size, tray in zip(*columns, strict=True):
        box = corners(bbox, PICTURE)
        if box is not None:
            regions.append(Region(box, shape, (colour, size, TRAYS[tray])))
    return Sample(
        id=Path(row["file_name"]).stem,
        images=(str(out / "images" / row["file_name"]),),
        regions=tuple(regions),
        expressions=expressions,
        statements=(Statement(row["sentence"].strip(), "true" if row["label"] else "false"),),
        split=split,
    )


def _expressions(folder: Path, split: str) -> dict[str, tuple[Expression, ...]]:
    """By picture; the boxes stand in the instances file, which the referring file points into."""
    path = folder / f"referring_{split}.json"
    if not path.is_file():
        return {}
    boxes = {a["id"]: a["bbox"] for a in read_json(folder / f"instances_{split}.json")["annotations"]}
    found: dict[str, tuple[Expression, ...]] = {}
    for reference in read_json(path):
        box = corners(boxes[reference["ann_id"]], PICTURE)
        if box is not None:
            texts = tuple(Expression(sentence["sent"], box) for sentence in reference["sentences"])
            found[reference["file_name"]] = found.get(reference["file_name"], ()) + texts
    return found
