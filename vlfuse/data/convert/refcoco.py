"""RefCOCO, RefCOCO+ and RefCOCOg (Yu et al. 2016; Mao et al. 2016) as their authors give them out."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from vlfuse.data.boxes import from_size
from vlfuse.data.convert.report import Pictures, Report, find, read_json
from vlfuse.types import DataError, Expression, Sample


def convert_refcoco(source: Path, out: Path) -> Report:
    """source: folder with `refs(NAME).p` (or the same list as `refs*.json`), `instances.json`, and COCO's train2014
    pictures anywhere below it.

    Writes `out/SPLIT.jsonl`, one sample a picture with its expressions (`out/NAME-SPLIT.jsonl` where there are several
    files of references). Rows are sentences. Pictures stay where they are; the records name them relative to `out`.
    """
    report, pictures = Report(), Pictures(source)
    listings = sorted([*source.glob("refs*.p"), *source.glob("refs*.json")]) or find(source, "refs*.p", "RefCOCO")
    instances = read_json(source / "instances.json")
    things = {row["id"]: row for row in instances["annotations"]}
    images = {image["id"]: image for image in instances["images"]}
    for listing in listings:
        references = _references(listing)
        prefix = "" if len(listings) == 1 else listing.stem.removeprefix("refs").strip("()_- ") + "-"
        for split in sorted({str(reference.get("split", "all")) for reference in references}):
            chosen = [reference for reference in references if str(reference.get("split", "all")) == split]
            told: dict[Path, list[Expression]] = {}
            for reference in chosen:
                for picture, expression in _told(reference, things, images, pictures, report):
                    told.setdefault(picture, []).append(expression)
            samples = (
                Sample(picture.stem, (os.path.relpath(picture, out),), expressions=tuple(expressions), split=split)
                for picture, expressions in told.items()
            )
            report.write(out / f"{prefix}{split}.jsonl", samples)
    return report


def _told(
    reference: dict[str, Any],
    things: dict[Any, dict[str, Any]],
    images: dict[Any, dict[str, Any]],
    pictures: Pictures,
    report: Report,
) -> Iterator[tuple[Path, Expression]]:
    sentences = [str(sentence.get("sent", sentence.get("raw", ""))).strip() for sentence in reference["sentences"]]
    thing, image = things.get(reference["ann_id"]), images.get(reference["image_id"])
    if thing is None or image is None:
        return report.drop("sentence about a thing that instances.json does not list", len(sentences))
    picture = pictures.find(image["file_name"])
    if picture is None:
        return report.drop("picture is missing", len(sentences))
    size = (image.get("width") or float("inf"), image.get("height") or float("inf"))
    box = report.box(from_size(thing.get("bbox")), *size)
    if box is None:
        return report.drop("box cannot be used", len(sentences))
    for sentence in sentences:
        if sentence:
            report.keep()
            yield picture, Expression(sentence, box)
        else:
            report.drop("sentence is blank")


class _PlainData(pickle.Unpickler):
    """Lists, dicts, texts and numbers; a pickle that asks for anything else could run code."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise DataError(f"it holds {module_name}.{global_name}, which plain references do not; do not trust this file")


def _references(listing: Path) -> list[dict[str, Any]]:
    if listing.suffix == ".json":
        return read_json(listing)
    try:
        with listing.open("rb") as file:
            return _PlainData(file, encoding="latin1").load()
    except (pickle.UnpicklingError, DataError, EOFError, ValueError, IndexError, KeyError) as error:
        raise DataError(f"{listing} cannot be read as references ({error}); fetch it again") from error
