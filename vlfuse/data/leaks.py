"""Are pictures that a model is tested on among those that it learns from?

RefCOCO's test pictures are of COCO's training set, and half of Visual Genome's pictures are COCO's:
a careless mixture has seen them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from vlfuse.data.classes import usable
from vlfuse.data.images import load_image
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset
from vlfuse.types import ImageSource, Sample

COCO_NAME = re.compile(r"^(?:COCO_[a-z]+\d*_)?(\d{12})(?:_\d+)?$")
PIECES = 16  # that a fingerprint is looked up by
NEAR, ALIKE = 8, 8.0  # bits, and grey levels on average, that two pictures may differ in


@dataclass(frozen=True)
class Leak:
    """A picture of the held-out data that the training data has too, and how that shows: by name,
    or by what it shows."""

    training: Sample
    held_out: Sample
    by: Literal["name", "content"]


def find_leaks(
    training: Dataset, held_out: Dataset, content: bool = False, coco_numbers: Mapping[str, int] | None = None
) -> Iterator[Leak]:
    """Every sample of `training` with a picture of `held_out`, once, in order.

    By name: the same path, or the same number of COCO in whatever folder and form (COCO_train2014_000000000042.jpg,
    000000000042.jpg, with an ending as in RefCOCO's lists). coco_numbers: those of pictures with other names, by the
    name without ending, such as `visual_genome_numbers` reads. content: also open all pictures and compare what they
    show; finds copies that were scaled or compressed anew, under any name.
    Records and pictures that cannot be read are passed over.
    """
    aliases = coco_numbers or {}
    known: dict[Hashable, Sample] = {}
    prints = _Fingerprints()
    for _, sample in usable(held_out):
        for source in sample.images:
            for key in _keys(source, aliases):
                known.setdefault(key, sample)
            if content:
                prints.add(source, sample)
    for _, sample in usable(training):
        keys = [key for source in sample.images for key in _keys(source, aliases)]
        by_name = next((known[key] for key in keys if key in known), None)
        if by_name is not None:
            yield Leak(sample, by_name, "name")
        elif content:
            found = next((hit for source in sample.images if (hit := prints.find(source, sample)) is not None), None)
            if found is not None:
                yield Leak(sample, found, "content")


def visual_genome_numbers(image_data: list[dict]) -> dict[str, int]:
    """From the content of Visual Genome's `image_data.json`: the COCO number of each picture that has one,
    by its name."""
    return {str(row["image_id"]): int(row["coco_id"]) for row in image_data if row.get("coco_id")}


def _keys(source: ImageSource, aliases: Mapping[str, int]) -> list[Hashable]:
    if not isinstance(source, str) or not source:
        return []
    stem = PurePosixPath(source).stem
    match = COCO_NAME.match(stem)
    number = int(match[1]) if match else aliases.get(stem)
    return [source] if number is None else [source, ("COCO", number)]


class _Fingerprints:
    """Pictures by which of two neighbouring places is brighter, at 128 places. As at most 7 bits differ, alike pictures
    share one of 8 pieces; what those that do look like decides."""

    def __init__(self) -> None:
        self.pieces: list[dict[bytes, list[int]]] = [{} for _ in range(PIECES)]
        self.seen: list[tuple[np.ndarray, np.ndarray, Sample]] = []

    def add(self, source: ImageSource, sample: Sample) -> None:
        print_ = _fingerprint(source, sample)
        if print_ is not None:
            for table, piece in zip(self.pieces, print_[0].reshape(PIECES, -1), strict=True):
                table.setdefault(piece.tobytes(), []).append(len(self.seen))
            self.seen.append((*print_, sample))

    def find(self, source: ImageSource, sample: Sample) -> Sample | None:
        print_ = _fingerprint(source, sample)
        if print_ is None:
            return None
        bits, small = print_
        pieces = zip(self.pieces, bits.reshape(PIECES, -1), strict=True)
        candidates = {place for table, piece in pieces for place in table.get(piece.tobytes(), ())}
        for place in sorted(candidates):
            other_bits, other_small, other = self.seen[place]
            if (bits != other_bits).sum() <= NEAR and np.abs(small - other_small).mean() <= ALIKE:
                return other
        return None


def _fingerprint(source: ImageSource, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
    """[128] bool and [32, 32] grey levels; None for a picture that cannot be opened."""
    try:
        grey = load_image(source, sample.origin).convert("L")
    except SampleError:
        return None
    across, down, small = (
        np.asarray(grey.resize(size, Image.Resampling.BOX)).astype(np.float32) for size in ((9, 8), (8, 9), (32, 32))
    )
    bits = [across[:, 1:] > across[:, :-1], down[1:] > down[:-1]]
    return np.concatenate([b.ravel() for b in bits]), small
