"""Public formats become our record, on extracts in their layout and, where present, on the data sets themselves."""

import json
import os
from pathlib import Path

import pytest

from tests.data.sources import picture, png, tar
from vlfuse.data.check import check
from vlfuse.data.convert import CONVERTERS
from vlfuse.data.readers import open_dataset
from vlfuse.types import DataError, Expression, Question, Region, Statement

DATA = Path(os.environ.get("VLFUSE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_nlvr1(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    scene = {"boxes": [[40, 80, 20, 20]], "shapes": ["square"], "colors": ["yellow"], "sizes": ["medium"], "trays": [0]}
    rows = [{"file_name": f"t-{i}.png", "sentence": " There is one ", "label": i == 0} for i in range(3)]
    write_rows(source / "annotations" / "val.jsonl", [rows[0] | scene, *rows[1:]])
    (source / "annotations" / "instances_val.json").write_text(
        json.dumps({"annotations": [{"id": 5, "bbox": [40, 80, 20, 20]}]})
    )
    refers = [{"ann_id": 5, "file_name": "t-0.png", "sentences": [{"sent": "the square"}]}]
    (source / "annotations" / "referring_val.json").write_text(json.dumps(refers))
    (source / "shards").mkdir()
    tar(source / "shards" / "val-000000.tar", {"t-0.png": png(), "../../t-1.png": png()})
    report = CONVERTERS["nlvr1"](source, out)
    assert (report.read, report.kept, report.dropped) == (3, 2, {"picture is in no shard": 1})
    dataset = open_dataset(str(out / "val.jsonl"))
    assert check(dataset).usable == 2
    assert dataset[0].statements == (Statement("There is one", "true"),) and dataset[1].statements[0].label == "false"
    assert dataset[0].regions == (Region((40, 80, 60, 100), "square", ("yellow", "medium", "left")),)
    assert dataset[0].expressions == (Expression("the square", (40, 80, 60, 100)),)
    assert not (tmp_path / "t-1.png").exists()


def test_easy_vqa(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    rows = [{"question_id": i, "image": f"{i // 2}.png", "question": f"what {i}?", "answer": "red"} for i in range(4)]
    write_rows(source / "val.jsonl", rows)
    tar(source / "val.tar", {"0.png": png(0)})
    report = CONVERTERS["easy-vqa"](source, out)
    assert (report.read, report.kept, report.dropped) == (4, 2, {"picture is not in the archive": 2})
    sample = open_dataset(str(out / "val.jsonl"))[0]
    assert sample.questions == (Question("what 0?", ("red",), "0"), Question("what 1?", ("red",), "1"))


def test_vqa_rad(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    rows = [{"question_id": 1, "image": "a.jpg", "question": "Is it?", "answer": "Yes "}, {"image": "gone.jpg"}]
    write_rows(source / "val.jsonl", rows)
    (source / "images").mkdir()
    picture().save(source / "images" / "a.jpg")
    report = CONVERTERS["vqa-rad"](source, out)
    assert (report.kept, report.dropped) == (1, {"picture is missing": 1})
    dataset = open_dataset(str(out / "val.jsonl"))
    assert check(dataset).usable == 1 and dataset[0].questions[0].answers == ("yes",)


def test_coco_with_questions(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "annotations").mkdir(parents=True)
    (source / "images").mkdir()
    picture().save(source / "images" / "7.jpg")
    pictures = [{"id": 7, "file_name": "7.jpg", "width": 12, "height": 10}, {"id": 8, "file_name": "8.jpg"}]

    def write(name, content):
        (source / "annotations" / f"{name}_val.json").write_text(json.dumps(content))

    write("captions", {"images": pictures, "annotations": [{"image_id": 7, "caption": "a dog"}]})
    boxes = [{"image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 1}]
    write("instances", {"images": pictures, "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]})
    write("vqa_v2_questions", {"questions": [{"image_id": 7, "question": "what?", "question_id": 70}]})
    write("vqa_v2_annotations", {"annotations": [{"question_id": 70, "answers": [{"answer": "dog"}] * 10}]})
    report = CONVERTERS["coco"](source, out)
    assert (report.read, report.kept, report.dropped) == (2, 1, {"picture is missing": 1})
    dataset = open_dataset(str(out / "val.jsonl"))
    assert check(dataset).usable == 1
    assert dataset[0].regions == (Region((1, 2, 4, 6), "dog"),) and dataset[0].captions == ("a dog",)
    assert dataset[0].questions == (Question("what?", ("dog",) * 10, "70"),)


def test_nlvr2(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    rows = [
        {"identifier": "dev-1-0-0", "sentence": "one", "label": "True"},
        {"identifier": "dev-1-0-1", "sentence": "two", "label": "False"},
        {"identifier": "dev-2-0-0", "sentence": "three", "label": "True"},
    ]
    write_rows(source / "data" / "dev.json", rows)
    (source / "images" / "dev").mkdir(parents=True)
    for side in (0, 1):
        (source / "images" / "dev" / f"dev-1-0-img{side}.png").write_bytes(png(side))
    report = CONVERTERS["nlvr2"](source, out)
    assert (report.read, report.kept, report.dropped) == (3, 2, {"picture is missing": 1})
    dataset = open_dataset(str(out / "dev.jsonl"))
    assert check(dataset).pictures == 2
    assert dataset[0].statements == (Statement("one", "true"), Statement("two", "false"))


def test_vqa_v2(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "val2014").mkdir(parents=True)
    picture().save(source / "val2014" / "COCO_val2014_000000000042.jpg")
    asked = [{"image_id": image, "question": "what?", "question_id": image * 10} for image in (42, 43)]
    answers = [{"question_id": 420, "answers": [{"answer": "net"}] * 10}]
    (source / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({"questions": asked}))
    (source / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": answers}))
    report = CONVERTERS["vqa-v2"](source, out)
    assert (report.read, report.kept, report.dropped) == (2, 1, {"picture is missing": 1})
    dataset = open_dataset(str(out / "val2014.jsonl"))
    assert check(dataset).usable == 1
    assert dataset[0].questions == (Question("what?", ("net",) * 10, "420"),)


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_folder_of_something_else(tmp_path, name):
    with pytest.raises(DataError, match="this is not a folder of"):
        CONVERTERS[name](tmp_path, tmp_path / "out")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set VLFUSE_DATA to the folder of public data sets")
@pytest.mark.parametrize(
    ("name", "folder", "kept"),
    [
        ("coco", "photos/coco_open", {"train": 100, "val": 44}),
        ("coco", "photos/aquarium", {"train": 160, "val": 50}),
        ("coco", "photos/bccd", {"train": 120, "val": 50, "test": 30}),
        ("vqa-rad", "vqa/vqa_rad", {"train": 165, "val": 45}),
    ],
)
def test_the_data_sets_themselves(tmp_path, name, folder, kept):
    report = CONVERTERS[name](DATA / folder, tmp_path)
    assert not report.dropped
    assert {Path(path).stem: number for path, number in report.written.items()} == kept
    assert check(open_dataset(str(tmp_path / "val.jsonl"))).usable == kept["val"]


def test_vg_qa(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "VG_100K").mkdir(parents=True)
    for number in (1, 2):
        (source / "VG_100K" / f"{number}.jpg").write_bytes(png(number))

    def asked(*pairs):
        return [{"qa_id": i, "question": q, "answer": a} for i, (q, a) in enumerate(pairs)]

    rows = [
        {"id": 1, "qas": asked(("what?", "The dog."), ("what?", "dog"), ("who?", "A dog."), ("who?", "Two."), ("why?", "because"))},
        {"id": 2, "qas": asked(("what?", "two"))},
        {"id": 3, "qas": asked(("what?", "dog"))},
    ]  # fmt: skip
    (source / "question_answers.json").write_text(json.dumps(rows))
    (source / "image_data.json").write_text(
        json.dumps([{"image_id": 1, "coco_id": 7}, {"image_id": 2, "coco_id": None}])
    )
    with pytest.raises(DataError, match="answers of your VQA model"):
        CONVERTERS["vg-qa-for-vqa"](source, out)
    (source / "answers.txt").write_text("dog\n2\n")
    report = CONVERTERS["vg-qa-for-vqa"](source, out)
    dropped = {
        "answer is not in the list": 1,
        "question was asked before": 2,
        "answers differ": 1,
        "picture is missing": 1,
    }
    assert (report.read, report.kept, dict(report.dropped)) == (7, 2, dropped)
    assert open_dataset(str(out / "coco.jsonl"))[0].questions == (Question("what?", ("dog",), "0"),)
    assert open_dataset(str(out / "rest.jsonl"))[0].questions == (Question("what?", ("2",), "0"),)
