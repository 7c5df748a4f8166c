"""What `check`, `stats` and `draw` say of a dataset."""

import json

import numpy as np
from PIL import Image

from tests.data.sources import jsonl, record
from vlfuse.data.check import check, draw, stats
from vlfuse.data.readers import JsonlDataset
from vlfuse.data.tokenizer import Tokenizer


def test_check_counts_and_names(tmp_path):
    outside = record(4) | {"regions": [{"box": [0, 0, 13, 5], "label": "dog"}]}
    lines = {
        1: "{",
        3: json.dumps(record(0) | {"image": "gone.png"}),
        4: json.dumps(outside),
        5: json.dumps(record(0) | {"captions": ["red " * 2500]}),
    }
    path = jsonl(tmp_path, 6, lines)
    (tmp_path / "images" / "2.png").write_bytes((tmp_path / "images" / "2.png").read_bytes()[:60])
    report = check(JsonlDataset(path), Tokenizer.load("scenes"), max_text=20)
    assert (report.samples, report.usable, report.pictures) == (6, 3, 3)
    assert report.by_kind() == {"record": 1, "broken image": 1, "missing image": 1}
    assert [problem.origin for problem in report.problems] == [f"{path}:{line}" for line in (2, 3, 4)]
    assert (report.texts, report.truncated) == (4 + 4 + 3, 1)
    assert report.remarks == {"box reaches outside the picture": [f"{path}:5"], "id occurs twice": [f"{path}:6"]}


def test_stats(tmp_path):
    result = stats(JsonlDataset(jsonl(tmp_path, 5, {1: "{"})))
    assert (result.samples, result.unusable) == (5, 1)
    assert result.items["captions"] == 8 and result.items["pictures"] == 4
    assert result.words["captions"] == {4: 4, 2: 4}
    assert result.answers == {"yes": 4} and result.majority() == 1.0
    assert result.statements == {"false": 3, "true": 1}


def test_draw_shows_boxes_pairs_and_errors(tmp_path):
    boxed = record(0) | {"regions": [{"box": [2, 2, 8, 8], "label": "dog"}]}
    pair = {"images": ["images/1.png", "images/2.png"], "statements": [{"text": "both", "label": "true"}]}
    path = jsonl(tmp_path, 4, {0: json.dumps(boxed), 1: json.dumps(pair), 2: "{"})
    Image.new("RGB", (1, 1)).save(tmp_path / "images" / "3.png")
    sheet = draw(JsonlDataset(path), number=4, seed=None, columns=2)
    assert sheet.mode == "RGB" and sheet.width == 2 * 328 + 8
    assert (np.asarray(sheet) == (0xD6, 0x27, 0x28)).all(-1).any()
