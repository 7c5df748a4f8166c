"""NLVR2 (Suhr et al. 2019): statements, true or false of two photographs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlfuse.data.convert.report import Report, find, rows
from vlfuse.types import Sample, Statement


def convert_nlvr2(source: Path, out: Path) -> Report:
    """source: folder with the authors' `SPLIT.json` files (one JSON object a line), in it or in `data/`, and the
    pictures below `images/`, whose names are `IDENTIFIER-img0.png` with the identifier less its last number.

    Writes `out/SPLIT.jsonl`, one sample a pair with all its statements. Pictures stay where they are; the records name
    them relative to `out`.
    """
    report = Report()
    pictures = {path.name: path for path in source.glob("images/**/*.png")}
    listings = [*source.glob("data/*.json"), *source.glob("*.json*")] or find(source, "data/*.json", "NLVR2")
    for listing in sorted(listings):
        pairs: dict[str, list[dict[str, Any]]] = {}
        for row in rows(listing):
            report.read += 1
            pair = row["identifier"].rpartition("-")[0]
            if f"{pair}-img0.png" not in pictures or f"{pair}-img1.png" not in pictures:
                report.dropped["picture is missing"] += 1
                continue
            report.kept += 1
            pairs.setdefault(pair, []).append(row)
        report.write(out / f"{listing.stem}.jsonl", _samples(pairs, pictures, listing.stem, out))
    return report


def _samples(
    pairs: dict[str, list[dict[str, Any]]], pictures: dict[str, Path], split: str, out: Path
) -> Iterator[Sample]:
    for pair, group in pairs.items():
        images = tuple(os.path.relpath(pictures[f"{pair}-img{side}.png"], out) for side in (0, 1))
        statements = tuple(Statement(row["sentence"].strip(), str(row.get("label", "")).lower()) for row in group)
        yield Sample(pair, images, statements=statements, split=split)
