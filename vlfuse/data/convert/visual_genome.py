"""Visual Genome (Krishna et al. 2017): about fifty described regions a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlfuse.data.boxes import from_size
from vlfuse.data.convert.report import Pictures, Report, find, read_json
from vlfuse.types import Expression, Sample


def convert_visual_genome(source: Path, out: Path) -> Report:
    """source: folder with `region_descriptions.json`, `image_data.json` and pictures `ID.jpg` anywhere below it.

    Writes `out/all.jsonl`, one sample a picture: each region is an expression (though it may fit other things of the
    picture, too). Rows are regions. Half of the pictures are COCO's: see `vlfuse data leaks` before training on them.
    """
    report, pictures = Report(), Pictures(source)
    (listing,) = find(source, "region_descriptions.json", "Visual Genome")
    sizes = {row["image_id"]: (row["width"], row["height"]) for row in read_json(source / "image_data.json")}
    report.write(out / "all.jsonl", _samples(read_json(listing), sizes, pictures, out, report))
    return report


def _samples(
    entries: list[dict[str, Any]],
    sizes: dict[Any, tuple[int, int]],
    pictures: Pictures,
    out: Path,
    report: Report,
) -> Iterator[Sample]:
    for entry in entries:
        regions = entry.get("regions", [])
        number = entry.get("id", regions[0].get("image_id") if regions else None)
        picture = pictures.find(f"{number}.jpg")
        if picture is None:
            report.drop("picture is missing", len(regions))
            continue
        size = sizes.get(number, (float("inf"), float("inf")))
        told = tuple(e for region in regions if (e := _expression(region, size, report)) is not None)
        yield Sample(str(number), (os.path.relpath(picture, out),), expressions=told, split="all")


def _expression(region: dict[str, Any], size: tuple[float, float], report: Report) -> Expression | None:
    phrase = str(region.get("phrase", "")).strip()
    if not phrase:
        return report.drop("phrase is blank")
    box = report.box(from_size([region.get(key) for key in ("x", "y", "width", "height")]), *size)
    if box is None:
        return report.drop("box cannot be used")
    report.keep()
    return Expression(phrase, box)
