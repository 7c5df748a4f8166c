"""Data sets of boxes with classes: their names, few of their pictures, and what they hold in COCO's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlfuse.data.coco import CocoDataset
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.scenes.world import SHAPES
from vlfuse.types import DataError, Sample


class Part:
    """Some samples of a data set, in the order given."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self.dataset, self.indices = dataset, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """The classes of a data set: of COCO files all that they list, by id; of scenes all shapes; else all that occur,
    by the alphabet.

    Unusable records are passed over. Raises DataError where there are no classes.
    """
    if isinstance(dataset, CocoDataset) and dataset.names:
        return tuple(dict.fromkeys(dataset.names[number] for number in sorted(dataset.names)))
    if isinstance(dataset, SceneDataset):
        return tuple(sorted(SHAPES))
    found: set[str] = set()
    for _, sample in usable(dataset):
        found.update(region.label for region in sample.regions)
        found.update(sample.absent)
    if not found:
        raise DataError("the data set has no boxes with classes; regions are {box, label} in its records")
    return tuple(sorted(found))


def usable(dataset: Dataset) -> Iterable[tuple[int, Sample]]:
    """Every sample that can be read, with its index; pictures are not opened."""
    for index in range(len(dataset)):
        try:
            yield index, dataset[index]
        except SampleError:
            continue


def few_shot(dataset: Dataset, shots: int, seed: int | None = None) -> Part:
    """Pictures with at least `shots` of every class that has so many, as few as a single pass finds.

    In the order of ids (of numbers, where all are), or shuffled by `seed`, a picture is taken while one of its classes
    still needs pictures; then each class in it needs one less. Source: FIBER's and GLIP's few-shot sets,
    which count pictures, not boxes.
    """
    if shots < 1:
        raise DataError(f"{shots} shots are none; the published sets have 1, 3, 5 or 10")
    samples = {
        index: (sample.id, {region.label for region in sample.regions if not region.iscrowd})
        for index, sample in usable(dataset)
    }
    numbered = all(name.isdigit() for name, _ in samples.values())
    order = sorted(samples, key=lambda index: (int(samples[index][0]) if numbered else samples[index][0], index))
    if seed is not None:
        order = [order[place] for place in np.random.default_rng(seed).permutation(len(order))]
    needed = Counter({label: shots for _, labels in samples.values() for label in labels})
    taken = []
    for index in order:
        labels = samples[index][1]
        if any(needed[label] > 0 for label in labels):
            taken.append(index)
            needed.subtract(labels)
    return Part(dataset, taken)


def coco_truth(
    samples: Sequence[Sample], names: Sequence[str], categories: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """What `vlfuse.metrics.detection` measures against: image ids are places in `samples`,
    category ids places in `names`, from 1.

    samples: as batches carry them, whose boxes are those of upright pictures.
    Records with `absent` or `partial` labels make it federated, as LVIS is; categories: entries with `name` and
    `frequency`, such as its converter writes. Areas are those of the boxes, where COCO's own file has those of
    outlines: APs, APm and APl may differ a little from those of the official file.
    """
    numbers = {name: number for number, name in enumerate(names, start=1)}
    frequency = {entry["name"]: entry["frequency"] for entry in categories if "frequency" in entry}
    images, annotations = [], []
    for place, sample in enumerate(samples, start=1):
        known = ("neg_category_ids", sample.absent), ("not_exhaustive_category_ids", sample.partial)
        images.append({"id": place} | {key: [numbers[n] for n in labels if n in numbers] for key, labels in known})
        for region in sample.regions:
            if region.label in numbers:
                x0, y0, x1, y1 = region.box
                row = {"image_id": place, "category_id": numbers[region.label], "iscrowd": region.iscrowd}
                annotations.append({**row, "id": len(annotations) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    listed = [
        {"id": number, "name": name} | ({"frequency": frequency[name]} if name in frequency else {})
        for name, number in numbers.items()
    ]
    return {"images": images, "annotations": annotations, "categories": listed}
