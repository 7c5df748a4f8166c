"""COCO's own JSON files, captions and instances, read directly."""

from __future__ import annotations

import json
import math
import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import Any

import fsspec

from vlfuse.types import Box, DataError, Region, Sample


class CocoDataset:
    """Pictures with what one or more COCO files say of them: captions grouped by picture, boxes turned to [x0, y0, x1, y1].

    Boxes are clipped to the picture; those without area left are dropped and counted in `dropped`.
    """

    def __init__(self, files: Sequence[str], images: str = ""):
        """files: captions and/or instances JSON, told apart by what they hold. images: folder or URL of the pictures;
        by default looked for beside the first file: `images/` in its folder or the one above, else its folder."""
        self.dropped: Counter[str] = Counter()
        self.root = images or _image_folder(files[0])
        self.files = list(files)
        self.pictures: dict[int | str, dict[str, Any]] = {}
        self.captions: dict[int | str, list[str]] = {}
        self.regions: dict[int | str, list[Region]] = {}
        for file in files:
            self._add(file)
        self.ids = list(self.pictures)
        if not self.ids:
            raise DataError(f"{', '.join(files)} lists no images")

    def _add(self, file: str) -> None:
        content = _read(file)
        try:
            for picture in content["images"]:
                self.pictures.setdefault(picture["id"], picture)
            names = {category["id"]: category["name"] for category in content.get("categories", ())}
            for annotation in content["annotations"]:
                self._annotate(annotation, names, file)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{file} is not a COCO captions or instances file ({type(error).__name__}: {error}); "
                "it needs 'images' (id, file_name) and 'annotations' (image_id, caption or bbox and category_id)"
            ) from error

    def _annotate(self, annotation: dict[str, Any], names: dict[int, str], file: str) -> None:
        owner = annotation["image_id"]
        if owner not in self.pictures:
            self.dropped[f"annotation of a picture that {posixpath.basename(file)} does not list"] += 1
        elif "caption" in annotation:
            caption = str(annotation["caption"]).strip()
            if caption:
                self.captions.setdefault(owner, []).append(caption)
            else:
                self.dropped["blank caption"] += 1
        else:
            box = corners(annotation["bbox"], self.pictures[owner])
            if box is None:
                self.dropped["box without area inside the picture"] += 1
                return
            region = Region(
                box, names[annotation["category_id"]], _attributes(annotation), int(annotation.get("iscrowd", 0))
            )
            self.regions.setdefault(owner, []).append(region)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        key = self.ids[index]
        return Sample(
            id=str(key),
            images=(posixpath.join(self.root, self.pictures[key]["file_name"]),),
            captions=tuple(self.captions.get(key, ())),
            regions=tuple(self.regions.get(key, ())),
            origin=f"{self.files[0]}: image {key}",
        )


def corners(bbox: Sequence[float], picture: dict[str, Any]) -> Box | None:
    """[x, y, width, height] -> [x0, y0, x1, y1] clipped to the picture; None where no area is left."""
    x, y, width, height = (float(number) for number in bbox)
    right, bottom = float(picture.get("width", math.inf)), float(picture.get("height", math.inf))
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + width, right), min(y + height, bottom)
    # Three decimals: finer than any annotation, and free of the tails that adding leaves.
    return (round(x0, 3), round(y0, 3), round(x1, 3), round(y1, 3)) if x1 > x0 and y1 > y0 else None


def _attributes(annotation: dict[str, Any]) -> tuple[str, ...]:
    given = annotation.get("attributes", ())
    return tuple(str(value) for value in (given.values() if isinstance(given, dict) else given))


def _read(file: str) -> dict[str, Any]:
    try:
        with fsspec.open(file, "rt", encoding="utf-8") as stream:
            return json.load(stream)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}; check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not valid JSON ({error})") from error


def _image_folder(file: str) -> str:
    system, path = fsspec.core.url_to_fs(file)
    folder = posixpath.dirname(path)
    tried = [posixpath.join(folder, "images"), posixpath.join(posixpath.dirname(folder), "images")]
    for candidate in tried:
        if system.isdir(candidate):
            folder = candidate
            break
    return system.unstrip_protocol(folder) if "://" in file else folder
