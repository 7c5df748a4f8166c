"""Class names, few-shot parts and ground truth of data sets with boxes."""

import json

import pytest

from tests.data.test_loader import Memory
from vlfuse.data.classes import class_names, coco_truth, few_shot
from vlfuse.data.collate import ALL
from vlfuse.data.grounding import GroundingCollate
from vlfuse.data.loader import Loader
from vlfuse.data.prompts import PromptMaker
from vlfuse.data.readers import open_dataset
from vlfuse.data.scaling import ScaleTransform
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.metrics.detection import coco_ap, lvis_fixed_ap
from vlfuse.types import DataError, Region, Sample

BOX = (1.0, 2.0, 11.0, 22.0)


def boxed(name, *labels, **fields):
    return Sample(str(name), ("x.jpg",), regions=tuple(Region(BOX, label) for label in labels), **fields)


def test_names_of_coco_files_come_by_id_and_all_of_them(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    (tmp_path / "i.json").write_text(json.dumps(content))
    assert class_names(open_dataset(str(tmp_path / "i.json"))) == ("cat", "dog")


def test_names_of_records_come_by_the_alphabet():
    assert class_names(Memory([boxed(1, "dog", "ant"), boxed(2, absent=("cow",))])) == ("ant", "cow", "dog")
    with pytest.raises(DataError, match="no boxes with classes"):
        class_names(Memory([boxed(1)]))


def test_few_shots_go_by_number_and_count_pictures():
    data = Memory([boxed(10, "a"), boxed(9, "a", "a", "b"), boxed(2, "a"), boxed(1), boxed(3, "c"), boxed(11, "b")])
    assert few_shot(data, 1).indices == [2, 4, 1]  # ids 2, 3, 9
    assert few_shot(data, 2).indices == [2, 4, 1, 5]
    part = few_shot(data, 1)
    assert len(part) == 3 and [part[i].id for i in range(3)] == ["2", "3", "9"]
    drawn = {tuple(few_shot(data, 1, seed).indices) for seed in range(8)}
    assert len(drawn) > 2
    for indices in drawn:
        labels = {region.label for index in indices for region in data[index].regions}
        assert labels == {"a", "b", "c"}
    with pytest.raises(DataError, match="0 shots"):
        few_shot(data, 0)


def test_truth_is_what_the_metrics_read():
    samples = [boxed(1, "dog", "cat"), boxed(2, "dog", absent=("cat",), partial=("dog",)), boxed("x")]
    truth = coco_truth(samples, ("dog", "cat"), [{"id": 7, "name": "cat", "frequency": "r"}])
    assert truth["images"][1] == {"id": 2, "neg_category_ids": [2], "not_exhaustive_category_ids": [1]}
    assert truth["annotations"][0]["bbox"] == [1, 2, 10, 20]
    rows = [
        {"image_id": place, "category_id": category, "bbox": [1, 2, 10, 20], "score": 0.9}
        for place, category in ((1, 1), (1, 2), (2, 1))
    ]
    assert coco_ap(truth, rows)["AP"] == pytest.approx(1)
    unasked = {"image_id": 3, "category_id": 1, "bbox": [50, 50, 10, 20], "score": 1.0}
    federated = lvis_fixed_ap(truth, [*rows, unasked])
    assert federated["AP"] == pytest.approx(1) and federated["APr"] == pytest.approx(1)
    assert coco_ap(truth, [*rows, unasked])["AP"] < 1


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_picture_is_counted_once_by_any_number_of_processes(processes):
    """Each evaluates its part of the batches; gathered, the rows are those of one, and so is AP."""
    scenes = SceneDataset(7, size=64, fields=("regions",))
    names = class_names(scenes)
    tokenizer = Tokenizer.load("scenes")
    collate = GroundingCollate(
        tokenizer, ScaleTransform((32,), 32), 32, "regions", ALL, PromptMaker(names, tokenizer, 32)
    )

    def rows_of(rank, world_size):
        """A detector that misses what lies left and doubles what lies right."""
        loader = Loader(scenes, collate, 4, shuffle=False, rank=rank, world_size=world_size)
        for sample in (sample for batch in loader.iterate() for sample in batch.samples):
            place = next(i for i in range(7) if scenes[i].id == sample.id) + 1
            for region in sample.regions:
                x0, y0, x1, y1 = region.box
                for score in (x0 / 64, x1 / 128):
                    bbox, category = [x0, y0, x1 - x0, y1 - y0], names.index(region.label) + 1
                    yield {"image_id": place, "category_id": category, "bbox": bbox, "score": score}

    truth = coco_truth([scenes[i] for i in range(7)], names)
    alone = list(rows_of(0, 1))
    gathered = [row for rank in range(processes) for row in rows_of(rank, processes)]
    assert len(gathered) == len(alone) > 14
    assert coco_ap(truth, gathered) == coco_ap(truth, alone)
