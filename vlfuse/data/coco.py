"""COCO's own JSON files, captions and instances, read directly."""

from __future__ import annotations

import json
import logging
import math
import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import Any

import fsspec

from vlfuse.data.boxes import from_size, tidy
from vlfuse.types import Box, DataError, Region, Sample

log = logging.getLogger(__name__)


class CocoDataset:
    """Pictures with what one or more COCO files say of them: captions grouped by picture,
    boxes turned to [x0, y0, x1, y1].

    Boxes are cut at the border of the picture (`cut` counts these); those that cannot be used are dropped and counted
    in `dropped` by what is wrong with them. LVIS's own fields become `Sample.absent` and `Sample.partial`.
    """

    def __init__(self, files: Sequence[str], images: str = ""):
        """files: captions and/or instances JSON, told apart by what they hold. images: folder or URL of the pictures;
        by default looked for beside the first file: `images/` in its folder or the one above, else its folder."""
        self.dropped: Counter[str] = Counter()
        self.cut = 0
        self.names: dict[int, str] = {}  # categories by id, in the files' order
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
        if self.dropped:
            counts = "; ".join(f"{number} times {reason}" for reason, number in self.dropped.items())
            log.warning("%s: left out %s", ", ".join(files), counts)

    def _add(self, file: str) -> None:
        content = _read(file)
        try:
            for picture in content["images"]:
                self.pictures.setdefault(picture["id"], picture)
            self.names |= {category["id"]: str(category["name"]).strip() for category in content.get("categories", ())}
            for annotation in content["annotations"]:
                self._annotate(annotation, file)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{file} is not a COCO captions or instances file ({type(error).__name__}: {error}); "
                "it needs 'images' (id, file_name) and 'annotations' (image_id, caption or bbox and category_id)"
            ) from error

    def _annotate(self, annotation: dict[str, Any], file: str) -> None:
        owner = annotation["image_id"]
        if owner not in self.pictures:
            self.dropped[f"annotation of a picture that {posixpath.basename(file)} does not list"] += 1
        elif "caption" in annotation:
            caption = str(annotation["caption"]).strip()
            if caption:
                self.captions.setdefault(owner, []).append(caption)
            else:
                self.dropped["blank caption"] += 1
        elif not self.names.get(annotation["category_id"]):
            self.dropped[f"box of a category that {posixpath.basename(file)} does not name"] += 1
        else:
            box, trouble = tidy(from_size(annotation["bbox"]), *_extent(self.pictures[owner]))
            if box is None:
                self.dropped[trouble] += 1
                return
            self.cut += bool(trouble)
            label, crowd = self.names[annotation["category_id"]], int(bool(annotation.get("iscrowd", 0)))
            self.regions.setdefault(owner, []).append(Region(box, label, _attributes(annotation), crowd))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        key = self.ids[index]
        picture = self.pictures[key]
        return Sample(
            id=str(key),
            images=(posixpath.join(self.root, picture_name(picture)),),
            captions=tuple(self.captions.get(key, ())),
            regions=tuple(self.regions.get(key, ())),
            absent=self._labels(picture.get("neg_category_ids", ())),
            partial=self._labels(picture.get("not_exhaustive_category_ids", ())),
            origin=f"{self.files[0]}: image {key}",
        )

    def _labels(self, categories: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.names[category] for category in categories if category in self.names)


def corners(bbox: Sequence[float], picture: dict[str, Any]) -> Box | None:
    """[x, y, width, height] -> [x0, y0, x1, y1] cut at the border of the picture; None where no area is left."""
    return tidy(from_size(bbox), *_extent(picture))[0]


def picture_name(picture: dict[str, Any]) -> str:
    """The file of an entry of `images`; LVIS 1.0 gives only the end of an address, as in train2017/000000391895.jpg."""
    return picture["file_name"] if "file_name" in picture else "/".join(picture["coco_url"].split("/")[-2:])


def _extent(picture: dict[str, Any]) -> tuple[float, float]:
    return float(picture.get("width") or math.inf), float(picture.get("height") or math.inf)


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
