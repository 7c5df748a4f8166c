"""LVIS (Gupta et al. 2019): 1,203 categories on COCO's photographs, each annotated on some of them only."""

from __future__ import annotations

import json
from pathlib import Path

from vlfuse.data.coco import CocoDataset
from vlfuse.data.convert.coco import write_pictures
from vlfuse.data.convert.report import Pictures, Report, find, read_json


def convert_lvis(source: Path, out: Path) -> Report:
    """source: folder with `lvis*.json`, in it or in `annotations/`, and COCO's pictures anywhere below it.

    Writes `out/FILE.jsonl` and `out/categories.json`: id, name and frequency (r, c, f) of every category. `absent` of a
    record are the categories known not to be in its picture, `partial` those of which not every thing has a box.
    Rows are pictures.
    """
    report, pictures = Report(), Pictures(source)
    listings = sorted([*source.glob("lvis*.json"), *source.glob("annotations/lvis*.json")])
    categories: dict[int, dict[str, str | int]] = {}
    for listing in listings or find(source, "lvis*.json", "LVIS"):
        dataset = CocoDataset([str(listing)], ".")
        for category in read_json(listing).get("categories", ()):
            kept = ("id", "name", "frequency")
            categories[category["id"]] = {key: category[key] for key in kept if key in category}
        write_pictures(report, dataset, pictures, out, listing.stem)
    ordered = [categories[number] for number in sorted(categories)]
    (out / "categories.json").write_text(json.dumps(ordered, ensure_ascii=False), encoding="utf-8")
    return report
