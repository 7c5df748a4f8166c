"""The splits of COCO and Flickr30k that captioning and retrieval are measured on (Karpathy and Fei-Fei 2015)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import Sample


def convert_karpathy(source: Path, out: Path) -> Report:
    """source: folder with `dataset_coco.json` or `dataset_flickr30k.json`, and the pictures anywhere below it.

    Writes `out/SPLIT.jsonl` (train, restval where there is one, val, test), one sample a picture with all its captions.
    COCO's usual training set is train and restval together. Pictures stay where they are;
    the records name them relative to `out`.
    """
    report = Report()
    pictures = {path.name: path for path in source.glob("**/*.jpg")}
    for listing in find(source, "dataset_*.json", "Karpathy's splits"):
        splits: dict[str, list[Sample]] = {}
        for row in read_json(listing)["images"]:
            report.read += 1
            captions = tuple(text for sentence in row["sentences"] if (text := sentence["raw"].strip()))
            if row["filename"] not in pictures:
                report.dropped["picture is missing"] += 1
            elif not captions:
                report.dropped["it has no caption"] += 1
            else:
                report.kept += 1
                image = os.path.relpath(pictures[row["filename"]], out)
                sample = Sample(_name(row), (image,), captions=captions, split=row["split"])
                splits.setdefault(row["split"], []).append(sample)
        for split, samples in splits.items():
            report.write(out / f"{split}.jsonl", samples)
    return report


def _name(row: dict[str, Any]) -> str:
    """COCO's own number, which result files go by; elsewhere the file's name."""
    return str(row.get("cocoid") or Path(row["filename"]).stem)
