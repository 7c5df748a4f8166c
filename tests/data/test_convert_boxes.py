"""Public formats of boxes with classes: what is kept, what is dropped and why, and bad boxes counted by what is wrong."""

import base64
import json
import shutil

import pytest

from tests.data.formats import BAD, DATA, GOOD, NAMED, converted, edges, put, with_data, write
from tests.data.sources import picture, png
from vlfuse.data import boxes as trouble
from vlfuse.data.convert.report import Pictures
from vlfuse.types import DataError, Phrase, Region


def test_lvis(source):
    put(source, "val2017/000000000007.jpg")
    categories = [{"id": 4, "name": "alarm_clock", "frequency": "c", "def": "x"}, {"id": 9, "name": "bow_(weapon)"}]
    images = [
        {
            "id": 7,
            "coco_url": "http://images.cocodataset.org/val2017/000000000007.jpg",
            "width": 12,
            "height": 10,
            "neg_category_ids": [9],
            "not_exhaustive_category_ids": [4],
        },
        {"id": 8, "coco_url": "http://x/val2017/000000000008.jpg", "width": 12, "height": 10},
    ]
    rows = [{"image_id": 7, "category_id": 4, "bbox": list(bbox)} for bbox in (GOOD, *BAD)]
    rows.append({"image_id": 7, "category_id": 99, "bbox": list(GOOD)})
    write(source / "lvis_v1_val.json", {"images": images, "annotations": rows, "categories": categories})
    report, dataset = converted("lvis", source, "lvis_v1_val.jsonl")
    assert (report.read, report.kept, report.dropped) == (2, 1, {"picture is missing": 1})
    assert report.boxes == NAMED | {"box of a category that lvis_v1_val.json does not name": 1}
    assert [r.box for r in dataset[0].regions] == [(1, 2, 4, 6), (0, 4, 4, 10)]
    assert (dataset[0].absent, dataset[0].partial) == (("bow_(weapon)",), ("alarm_clock",))
    listed = json.loads((source.parent / "out" / "categories.json").read_text())
    assert listed == [{"id": 4, "name": "alarm_clock", "frequency": "c"}, {"id": 9, "name": "bow_(weapon)"}]


def test_objects365(source):
    put(source, "v1/patch8/objects365_v1_00420917.jpg")
    image = {"id": 1, "file_name": "images/v1/patch8/objects365_v1_00420917.jpg", "width": 12, "height": 10}
    rows = [{"image_id": 1, "category_id": 46, "bbox": list(GOOD), "iscrowd": 1}]
    content = {"images": [image], "annotations": rows, "categories": [{"id": 46, "name": "Cup"}]}
    write(source / "annotations" / "zhiyuan_objv2_val.json", content)
    report, dataset = converted("objects365", source, "zhiyuan_objv2_val.jsonl")
    assert (report.read, report.kept) == (1, 1)
    assert dataset[0].regions == (Region((1, 2, 4, 6), "Cup", iscrowd=1),)


def test_objects365_in_tsv(source):
    image = base64.b64encode(png()).decode()
    rows = [("a", image), ("b", "???"), ("c", image), ("d", image)]
    (source / "train.tsv").write_text("".join(f"{key}\t{content}\n" for key, content in rows))
    objects = [{"class": "Cup", "rect": [1, 2, 4, 6]}, {"class": "", "rect": [1, 2, 4, 6]}, {"class": "x", "rect": [4, 2, 1, 6]}]  # fmt: skip
    labels = {"a": json.dumps(objects), "b": "[]", "c": "[]", "d": "{"}
    (source / "label.tsv").write_text("".join(f"{key}\t{value}\n" for key, value in labels.items()))
    (source / "train.yaml").write_text('img: train.tsv\nlabel: "label.tsv"\n')
    report, dataset = converted("objects365", source, "train.jsonl")
    assert (report.read, report.kept, report.dropped) == (4, 2, {"row cannot be decoded": 2})
    assert report.boxes == {trouble.SWAPPED: 1, "box without a class": 1}
    assert [sample.regions for sample in (dataset[0], dataset[1])] == [(Region((1, 2, 4, 6), "Cup"),), ()]


def test_open_images(source):
    put(source, "validation/0a.jpg")
    (source / "images" / "validation" / "0b.jpg").write_bytes(b"broken")
    (source / "class-descriptions-boxable.csv").write_text('/m/1,Dog\n/m/2,"Cat, big"\n')
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    rows = [
        "0a,x,/m/1,1,0.25,0.5,0.2,0.6,0",
        "0a,x,/m/2,1,0.25,0.5,0.2,0.6,1",
        "0a,x,/m/9,1,0.25,0.5,0.2,0.6,0",
        "0a,x,/m/1,1,0.5,0.25,0.2,0.6,0",
        "0a,x,/m/1,1,abc,0.25,0.2,0.6,0",
        "0b,x,/m/1,1,0.1,0.2,0.1,0.2,0",
        "0c,x,/m/1,1,0.1,0.2,0.1,0.2,0",
    ]
    (source / "validation-annotations-bbox.csv").write_text(head + "\n".join(rows) + "\n")
    (source / "validation-annotations-human-imagelabels-boxable.csv").write_text(
        "ImageID,Source,LabelName,Confidence\n0a,v,/m/1,1\n0a,v,/m/2,0\n0a,v,/m/2,0\n"
    )
    report, dataset = converted("open-images", source, "validation.jsonl")
    assert (report.read, report.kept) == (7, 2)
    assert report.dropped == {
        "label that the class descriptions do not name": 1,
        "box cannot be used": 2,
        "picture cannot be read": 1,
        "picture is missing": 1,
    }
    assert dataset[0].regions == (Region((3, 2, 6, 6), "Dog"), Region((3, 2, 6, 6), "Cat, big", iscrowd=1))
    assert dataset[0].absent == ("Cat, big",)


def test_odvg(source):
    put(source, "a.jpg")
    good = edges(GOOD)
    detection = [{"bbox": edges(box), "label": 0, "category": "cup"} for box in (GOOD, *BAD)]
    detection += [{"bbox": good, "label": 1}, {"bbox": good, "label": 7}]
    caption = "A Dog and two cats"
    regions = [
        {"bbox": good, "phrase": "a dog"},
        {"bbox": [good, [0, 0, 2, 2]], "phrase": ["two cats", "cats"]},
        {"bbox": good, "phrase": "x", "tokens_positive": [[2, 5]]},
        {"bbox": good, "phrase": "horse"},
        {"bbox": [], "phrase": "dog"},
    ]
    size = {"filename": "sub/a.jpg", "width": 12, "height": 10}
    lines = [
        {**size, "detection": {"instances": detection}},
        {**size, "grounding": {"caption": caption, "regions": regions}},
        {**size, "filename": "gone.jpg", "detection": {"instances": detection[:2]}},
    ]
    (source / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write(source / "train_label_map.json", {"0": "cup", "1": "plate"})
    report, dataset = converted("odvg", source, "train.jsonl")
    assert report.read == 16 and report.kept == 6
    assert report.dropped == {
        "box cannot be used": 6,
        "box without a category, or with a label that no label map names": 1,
        "phrase is not in its caption": 1,
        "picture is missing": 2,
    }
    box = (1, 2, 4, 6)
    assert [r.label for r in dataset[0].regions] == ["cup", "cup", "plate"]
    assert dataset[1].phrases == (
        Phrase(0, (0, 5), (box,)),
        Phrase(0, (10, 18), (box, (0, 0, 2, 2))),
        Phrase(0, (14, 18), (box, (0, 0, 2, 2))),
        Phrase(0, (2, 5), (box,)),
    )


@with_data
def test_lvis_layout(source):
    content = json.loads((DATA / "formats" / "lvis" / "lvis_v0.5_val_sample.json").read_text())
    for image in content["images"]:
        path = source / "images" / image["file_name"]
        picture(size=(image["width"], image["height"])).save(path, quality=1)
    write(source / "lvis_v0.5_val.json", content)
    report, dataset = converted("lvis", source, "lvis_v0.5_val.jsonl")
    assert (report.read, report.kept) == (12, 12) and not report.dropped
    assert sum(len(dataset[i].regions) for i in range(12)) == len(content["annotations"])
    assert any(dataset[i].absent for i in range(12))


def test_pictures_of_one_name(source):
    """Told apart by the folders that the annotations give; never taken for one another."""
    put(source, "a/1.jpg")
    picture(size=(30, 20)).save(source / "images" / "1.jpg")
    pictures = Pictures(source)
    assert pictures.find("a/1.jpg") == source / "images" / "a" / "1.jpg"
    assert pictures.find("images/1.jpg") == source / "images" / "1.jpg"
    assert pictures.find("2.jpg") is None
    for name in ("1.jpg", "b/1.jpg"):
        with pytest.raises(DataError, match=f"'{name}' could be any of .*1.jpg; keep only one"):
            Pictures(source / "images" / "a" / "..").find(name)
    shutil.copyfile(source / "images" / "1.jpg", source / "images" / "a" / "1.jpg")
    assert Pictures(source).find("b/1.jpg") is not None  # copies of one picture
