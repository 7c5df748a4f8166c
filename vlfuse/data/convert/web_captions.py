"""Conceptual Captions (Sharma et al. 2018) and SBU Captions (Ordonez et al. 2011): a caption and an address a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from vlfuse.data.convert.report import Report, find
from vlfuse.types import DataError, Sample

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}


def convert_conceptual(source: Path, out: Path) -> Report:
    """source: folder with TSV files of captions and addresses in either order, such as `Train_GCC-training.tsv`. Writes
    `out/NAME.jsonl`. See `_convert` for pictures."""
    report = Report()
    for listing in find(source, "*.tsv", "Conceptual Captions"):
        _convert(_columns(listing), source, out, listing.stem, report)
    return report


def convert_sbu(source: Path, out: Path) -> Report:
    """source: folder with the authors' `SBU_captioned_photo_dataset_urls.txt` and `..._captions.txt`,
    or with TSV files as above."""
    addresses = source / "SBU_captioned_photo_dataset_urls.txt"
    if not addresses.is_file():
        return convert_conceptual(source, out)
    report = Report()
    captions = source / "SBU_captioned_photo_dataset_captions.txt"
    if not captions.is_file():
        raise DataError(f"there is no file {captions} beside {addresses.name}; the two belong together, line by line")
    with addresses.open(encoding="utf-8") as ours, captions.open(encoding="utf-8") as theirs:
        _convert(zip_longest(theirs, ours, fillvalue=""), source, out, "sbu", report)
    return report


def _columns(listing: Path) -> Iterator[tuple[str, str]]:
    """(caption, address) of each line; a heading is passed over, a line of another form has no address."""
    with listing.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            cells = line.rstrip("\n").split("\t")
            if number == 0 and {cell.lower() for cell in cells} & {"url", "caption"}:
                continue
            place = next((i for i, cell in enumerate(cells[:2]) if cell.startswith(("http://", "https://"))), None)
            yield (line, "") if place is None or len(cells) < 2 else (cells[1 - place], cells[place])


def _convert(rows: Iterator[tuple[str, str]], source: Path, out: Path, name: str, report: Report) -> None:
    """Pictures are looked for in `source/images/NAME/` or `source/images/`, named by the line's number from 0 on (zeros
    in front are welcome), as downloaders leave them; lines without one are dropped.
    With no folder `images` the records keep the addresses."""
    folder = next((f for f in (source / "images" / name, source / "images") if f.is_dir()), None)
    pictures = {} if folder is None else {int(p.stem): p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.stem.isdigit()}  # fmt: skip
    if folder is not None and not pictures:
        raise DataError(
            f"{folder} has no pictures named by line number, such as 000000042.jpg; see `vlfuse data convert --help`"
        )

    def samples() -> Iterator[Sample]:
        for number, (caption, address) in enumerate(rows):
            report.read += 1
            caption, address = caption.strip(), address.strip()
            if not address or not caption:
                report.dropped["line has no caption and address"] += 1
            elif folder is not None and number not in pictures:
                report.dropped["picture was not downloaded"] += 1
            else:
                report.kept += 1
                image = address if folder is None else os.path.relpath(pictures[number], out)
                yield Sample(f"{name}-{number}", (image,), captions=(caption,))

    report.write(out / f"{name}.jsonl", samples())
