"""Average precision against the recorded results of the official tools."""

import json

import numpy as np
import pytest

from tests.golden.vectors import vectors
from vlfuse.metrics.detection import coco_ap, coco_ap_per_class, lvis_ap, lvis_fixed_ap, precision_curve


@pytest.mark.parametrize("path", vectors("metrics_coco_eval*.json"))
def test_coco(path):
    meta = json.loads(path.read_text())
    truth, detections = meta["input"]["ground_truth"], meta["input"]["detections"]
    expected, tolerance = meta["expected"], meta["tolerance"]
    assert coco_ap(truth, detections) == pytest.approx(expected["stats"], abs=tolerance)
    agnostic = coco_ap(truth, detections, class_agnostic=True)
    assert agnostic == pytest.approx(expected["class_agnostic_stats"], abs=tolerance)
    per_class = coco_ap_per_class(truth, detections)
    assert {str(category) for category in per_class} == set(expected["per_category"])
    for category, found in per_class.items():
        assert found == pytest.approx(expected["per_category"][str(category)], abs=tolerance), category
    first = min(category["id"] for category in truth["categories"])
    curve = expected["precision_curve_cat0_iou50_area_all_101pts"]
    np.testing.assert_allclose(precision_curve(truth, detections, first), curve, rtol=0, atol=tolerance)


def lvis_rows(predictions):
    return [
        {"image_id": image["image_id"], "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for image in predictions
        for (x0, y0, x1, y1), score, label in zip(image["boxes_xyxy"], image["scores"], image["labels"], strict=True)
    ]


@pytest.mark.parametrize("path", vectors("metrics_lvis_fixed_ap*.json"))
def test_lvis(path):
    meta = json.loads(path.read_text())
    truth, detections = meta["input"]["ground_truth"], lvis_rows(meta["input"]["predictions"])
    for name, expected in meta["expected"].items():
        kind, _, number = name.rpartition("_")
        if kind == "fixed_ap_topk":
            found = lvis_fixed_ap(truth, detections, int(number))
        elif kind == "standard_max_dets":
            found = lvis_ap(truth, detections, int(number))
            expected = {key.partition("@")[0]: value for key, value in expected.items()}
        else:
            raise AssertionError(f"{path.name} has a kind of result that is not known here: {name}")
        assert found == pytest.approx(expected, abs=meta["tolerance"]), name
