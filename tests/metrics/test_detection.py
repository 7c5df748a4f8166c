"""Average precision: against the official tool on random data, whoever counts, and what cannot be scored."""

import copy
import random

import numpy as np
import pytest

from vlfuse.metrics import detection
from vlfuse.metrics.detection import average_ap, coco_ap, coco_ap_per_class, lvis_ap, lvis_fixed_ap

COCO_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def random_data(seed, images=12, classes=4, per_image=8):
    """Boxes of all sizes, some crowds, and detections near them, beside them and with equal scores."""
    rng = np.random.default_rng(seed)
    truth = {"images": [], "annotations": [], "categories": [{"id": 10 + c, "name": f"c{c}"} for c in range(classes)]}
    found = []
    for image in range(images):
        truth["images"].append({"id": image * 3 + 1, "width": 400, "height": 300})
        for _ in range(int(rng.integers(0, per_image))):
            x, y, w, h = rng.uniform([0, 0, 5, 5], [250, 180, 150, 120]).round(1)
            category = int(10 + rng.integers(classes - 1))  # the last category has no objects
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image * 3 + 1,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": round(w * h * rng.uniform(0.4, 1), 2),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
            for _ in range(int(rng.integers(0, 4))):
                box = np.array([x, y, w, h]) + rng.normal(0, 4, 4).round(1)
                box[2:] = box[2:].clip(1)
                category = category if rng.random() < 0.8 else int(10 + rng.integers(classes))
                score = float(rng.integers(1, 20) / 20)
                found.append({"image_id": image * 3 + 1, "category_id": category, "bbox": box.tolist(), "score": score})
    return truth, found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_equals_the_official_tool(seed, class_agnostic):
    mask = pytest.importorskip("pycocotools.mask")
    assert mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = random_data(seed)
    gt = COCO()
    gt.dataset = {"info": {}, **copy.deepcopy(truth)}
    gt.createIndex()
    evaluation = COCOeval(gt, gt.loadRes(copy.deepcopy(found)), "bbox")
    evaluation.params.useCats = int(not class_agnostic)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = dict(zip(COCO_STATS, evaluation.stats.tolist(), strict=True))
    assert coco_ap(truth, found, class_agnostic) == pytest.approx(expected, abs=1e-12)


def test_any_number_of_processes_count_the_same():
    """Each has the rows of some images; gathered in any order of processes, the numbers are the same to the last bit."""
    truth, found = random_data(7, images=20)
    federated = {**truth, "images": [{**i, "neg_category_ids": [12, 13]} for i in truth["images"]]}
    for measure, data in ((coco_ap, truth), (lvis_ap, federated), (lvis_fixed_ap, federated)):
        alone = measure(data, found)
        for processes in (2, 3, 5):
            parts = [[row for row in found if row["image_id"] // 3 % processes == rank] for rank in range(processes)]
            random.Random(processes).shuffle(parts)
            assert measure(data, [row for part in parts for row in part]) == alone
    assert lvis_fixed_ap(federated, found, 5) == lvis_fixed_ap(federated, found[::-1][::-1], 5)


def test_categories_are_counted_in_blocks(monkeypatch):
    """Which need less memory, and change nothing."""
    truth, found = random_data(5, classes=7)
    truth = {**truth, "images": [{**image, "neg_category_ids": [10, 12]} for image in truth["images"]]}
    whole = (
        coco_ap(truth, found),
        coco_ap_per_class(truth, found),
        lvis_ap(truth, found),
        lvis_fixed_ap(truth, found, 9),
    )
    for size in (1, 3):
        monkeypatch.setattr(detection, "BLOCK", size)
        parts = (
            coco_ap(truth, found),
            coco_ap_per_class(truth, found),
            lvis_ap(truth, found),
            lvis_fixed_ap(truth, found, 9),
        )
        assert parts == whole


def test_nothing_found_and_nothing_there():
    truth, _ = random_data(1)
    assert coco_ap(truth, [])["AP"] == 0 and lvis_fixed_ap(truth, [])["AP"] == 0
    empty = {**truth, "annotations": []}
    assert coco_ap(empty, [])["AP"] == -1
    assert all(found["AP"] == -1 for found in coco_ap_per_class(empty, []).values())


def test_ids_from_zero_lose_nothing():
    """The tools take a match with annotation 0 for none."""
    truth, found = random_data(3)
    shifted = {**truth, "annotations": [{**row, "id": row["id"] - 1} for row in truth["annotations"]]}
    assert coco_ap(shifted, found) == coco_ap(truth, found)


def test_the_callers_data_stays_as_it_is():
    truth, found = random_data(2)
    before = copy.deepcopy((truth, found))
    coco_ap(truth, found)
    lvis_fixed_ap(truth, found)
    assert (truth, found) == before


def test_rows_that_cannot_be_scored_are_named():
    truth, found = random_data(2)
    for key in ("image_id", "category_id"):
        with pytest.raises(ValueError, match=f"detection 1 has {key} 999, which the ground truth does not list"):
            coco_ap(truth, [{**found[0], key: 999}])
    with pytest.raises(ValueError, match="lists 0 images and 4 categories"):
        coco_ap({**truth, "images": []}, [])
    with pytest.raises(ValueError, match="detection 2 of image .* not a finite box and score"):
        coco_ap(truth, [found[0], {**found[1], "score": float("nan")}])


def test_limits():
    """One class of the best detections of the data set, or of each image."""
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 10, 10]} for i in (1, 2)],
        "categories": [{"id": 1, "name": "a", "frequency": "r"}],
    }
    rows = [{"image_id": i, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 1 / i} for i in (1, 2)]
    miss = {"image_id": 2, "category_id": 1, "bbox": [50, 50, 10, 10], "score": 0.9}
    assert lvis_fixed_ap(truth, rows)["APr"] == pytest.approx(1.0)
    assert lvis_fixed_ap(truth, rows)["APc"] == -1
    assert lvis_fixed_ap(truth, rows, per_class=1)["AP"] == pytest.approx(51 / 101)
    assert lvis_ap(truth, [*rows, miss], per_image=1)["AR"] == pytest.approx(0.5)


def test_averages_over_sets():
    assert average_ap({"a": 0.2, "b": 0.4, "c": 0.9}) == pytest.approx({"average": 0.5, "median": 0.4, "sets": 3})
    for sets in ({}, {"a": 0.2, "b": float("nan")}, {"a": -1.0}):
        with pytest.raises(ValueError, match="needs an AP"):
            average_ap(sets)
