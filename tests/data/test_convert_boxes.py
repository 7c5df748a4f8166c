"""Public formats with boxes and phrases: what is kept, what is dropped and why, and bad boxes counted by what is wrong."""

import base64
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from tests.data.sources import picture, png
from vlfuse.data import boxes as trouble
from vlfuse.data.check import check
from vlfuse.data.convert import convert
from vlfuse.data.readers import open_dataset
from vlfuse.types import DataError, Expression, Phrase, Region

DATA = Path(os.environ.get("VLFUSE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
with_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no {DATA}; set VLFUSE_DATA to the folder of public data sets"
)

# [x, y, width, height] in a picture of 12 by 10, and what is wrong with it
BAD = {
    (1, 1, 0, 3): trouble.NO_AREA,
    (5, 5, -3, 2): trouble.SWAPPED,
    (20, 1, 3, 3): trouble.OUTSIDE,
    (1, 1, float("nan"), 3): trouble.NOT_NUMBERS,
    (1, 1, 3): trouble.NOT_NUMBERS,
    (-2, 4, 6, 30): trouble.CUT,
}
GOOD = (1, 2, 3, 4)
NAMED = {trouble.NO_AREA: 1, trouble.SWAPPED: 1, trouble.OUTSIDE: 1, trouble.NOT_NUMBERS: 2, trouble.CUT: 1}


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in" / "images").mkdir(parents=True)
    return tmp_path / "in"


def put(source, *names):
    for name in names:
        path = source / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture().save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def converted(name, source, file):
    """The report, whose numbers add up, and the data set written, in which nothing is unusable."""
    out = source.parent / "out"
    report = convert(name, source, out)
    assert report.read == report.kept + sum(report.dropped.values())
    dataset = open_dataset(str(out / file))
    found = check(dataset)
    assert not found.problems and not found.remarks
    return report, dataset


def edges(bbox):
    return [bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]] if len(bbox) == 4 else list(bbox)


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


def mdetr(source, dataset_name, captions, rows):
    images = [
        {"id": i, "file_name": name, "width": 12, "height": 10, "caption": caption, "dataset_name": dataset_name}
        for i, (name, caption) in enumerate(captions)
    ]
    annotations = [
        {"image_id": image, "bbox": list(bbox), "tokens_positive": spans, "category_id": 1, "iscrowd": crowd}
        for image, bbox, spans, crowd in rows
    ]
    write(source / "annotations" / "mixed.json", {"images": images, "annotations": annotations, "categories": []})


def test_mixed_grounding(source):
    put(source, "COCO_train2014_000000000042.jpg")
    name, other = "COCO_train2014_000000000042.jpg", (0, 0, 2, 2)
    captions = [(name, "a dog near a cat"), (name, "cafe\u0301 bar"), (name, " "), ("gone.jpg", "x")]
    rows = [
        (0, GOOD, [[0, 5], [11, 16]], 0),
        (0, other, [[0, 5]], 0),
        (0, GOOD, [[0, 5]], 1),
        (0, GOOD, [], 0),
        (0, GOOD, [[0, 99]], 0),
        (0, GOOD, None, 0),
        (1, GOOD, [[0, 4]], 0),
        (1, GOOD, [[0, 5]], 0),
        (2, GOOD, [[0, 1]], 0),
        (3, GOOD, [[0, 1]], 0),
        (9, GOOD, [[0, 1]], 0),
        *((0, bad, [[0, 5]], 0) for bad in BAD),
    ]
    mdetr(source, "mixed", captions, rows)
    report, dataset = converted("mdetr", source, "mixed.jsonl")
    assert report.kept == 4 and report.read == len(rows)
    assert report.dropped == {
        "box without words, or with words outside its caption": 4,
        "box of a crowd": 1,
        "box cannot be used": 5,
        "caption is blank": 1,
        "picture is missing": 1,
        "box of a caption that is not listed": 1,
    }
    assert report.boxes == NAMED
    sample = dataset[0]
    assert sample.captions == ("a dog near a cat", "cafe\u0301 bar")
    box, cut = (1, 2, 4, 6), (0, 4, 4, 10)
    assert sample.phrases == (
        Phrase(0, (0, 5), (box, (0, 0, 2, 2), cut)),
        Phrase(0, (11, 16), (box,)),
        Phrase(1, (0, 5), (box,)),
    )


def test_refcoco_in_mdetr_form(source):
    put(source, "a.jpg")
    mdetr(source, "refcoco+", [("a.jpg", "dog at left")], [(0, GOOD, [[0, 3]], 0)])
    _, dataset = converted("mdetr", source, "mixed.jsonl")
    assert dataset[0].expressions == (Expression("dog at left", (1, 2, 4, 6), ((0, 3),)),)
    assert not dataset[0].captions


def references(source, kind="p"):
    put(source, "train2014/COCO_train2014_000000000007.jpg")
    image = {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 12, "height": 10}
    gone = {**image, "id": 8, "file_name": "COCO_train2014_000000000008.jpg"}
    boxes = [GOOD, *BAD]
    rows = [{"id": 50 + i, "image_id": 7, "bbox": list(box)} for i, box in enumerate(boxes)]
    write(source / "instances.json", {"images": [image, gone], "annotations": [*rows, {**rows[0], "id": 90}]})
    said = [{"sent": "left dog", "sent_id": 1}, {"raw": "the dog", "sent_id": 2}, {"sent": " ", "sent_id": 3}]
    refs = [{"ann_id": 50 + i, "image_id": 7, "split": "testA", "sentences": said[:1]} for i in range(len(boxes))]
    refs[0]["sentences"] = said
    refs += [{**refs[1], "image_id": 8, "ann_id": 90}, {**refs[1], "ann_id": 999}, {**refs[0], "split": "val"}]
    if kind == "p":
        (source / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    else:
        write(source / "refs.json", refs)
    return refs


@pytest.mark.parametrize("kind", ["p", "json"])
def test_refcoco(source, kind):
    references(source, kind)
    report, dataset = converted("refcoco", source, "testA.jsonl")
    assert report.kept == 2 + 1 + 2
    assert report.dropped == {
        "box cannot be used": 5,
        "sentence is blank": 2,
        "picture is missing": 1,
        "sentence about a thing that instances.json does not list": 1,
    }
    assert dataset[0].expressions[:2] == (
        Expression("left dog", (1, 2, 4, 6)),
        Expression("the dog", (1, 2, 4, 6)),
    )
    assert len(open_dataset(str(source.parent / "out" / "val.jsonl"))) == 1


def test_several_lists_of_references(source):
    refs = references(source)
    (source / "refs(google).p").write_bytes(pickle.dumps(refs[:1]))
    report = convert("refcoco", source, source.parent / "out")
    names = {Path(path).name for path in report.written}
    assert names == {"google-testA.jsonl", "unc-testA.jsonl", "unc-val.jsonl"}


class Harm:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_a_pickle_with_code_is_refused(source, monkeypatch):
    monkeypatch.chdir(source)
    references(source)
    (source / "refs(unc).p").write_bytes(pickle.dumps([Harm()]))
    with pytest.raises(DataError, match=r"mkdir.*do not trust this file"):
        convert("refcoco", source, source.parent / "out")
    assert not (source / "harm").exists()
    (source / "refs(unc).p").write_bytes(b"not a pickle")
    with pytest.raises(DataError, match="cannot be read as references"):
        convert("refcoco", source, source.parent / "out")


def test_visual_genome(source):
    put(source, "VG_100K/5.jpg")
    keys = ("x", "y", "width", "height")
    boxes = [GOOD, *(bad for bad in BAD if len(bad) == 4)]
    regions = [{"phrase": " a red cup ", **dict(zip(keys, box, strict=True))} for box in boxes]
    regions.append({**regions[0], "phrase": ""})
    entries = [{"id": 5, "regions": regions}, {"id": 6, "regions": regions[:2]}, {"id": 6, "regions": []}]
    write(source / "region_descriptions.json", entries)
    write(source / "image_data.json", [{"image_id": 5, "width": 12, "height": 10, "coco_id": None}])
    report, dataset = converted("visual-genome", source, "all.jsonl")
    assert (report.read, report.kept) == (9, 2)
    assert report.dropped == {"phrase is blank": 1, "box cannot be used": 4, "picture is missing": 2}
    assert report.boxes == NAMED | {trouble.NOT_NUMBERS: 1}
    assert dataset[0].expressions[0] == Expression("a red cup", (1, 2, 4, 6))


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


def test_flickr30k_lists_and_bad_boxes(source):
    put(source, "1.jpg")
    (source / "Sentences").mkdir()
    (source / "Annotations").mkdir()
    line = "[/EN#3/people/other Two men] on [/EN#4/scene a street] see [/EN#0/notvisual it] and [/EN#5/other a cup] .\n"
    (source / "Sentences" / "1.txt").write_text(line)

    def thing(name, box):
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"

    scene = "<object><name>4</name><scene>1</scene><nobndbox>1</nobndbox></object>"
    size = "<size><width>12</width><height>10</height><depth>3</depth></size>"
    body = size + thing(3, (1, 1, 4, 5)) + thing(3, (3, 3, 30, 5)) + scene + thing(5, (9, 9, 2, 2))
    (source / "Annotations" / "1.xml").write_text(f"<annotation>{body}</annotation>")
    (source / "val.txt").write_text("1\n2\n")
    report, dataset = converted("flickr30k", source, "val.jsonl")
    assert (report.read, report.kept) == (5, 1)
    assert report.dropped == {
        "phrase names the whole scene": 1,
        "phrase names nothing visible": 1,
        "phrase has no usable box": 1,
        "picture of the list without sentences or annotations": 1,
    }
    assert report.boxes == {trouble.CUT: 1, trouble.SWAPPED: 1}
    assert dataset[0].captions == ("Two men on a street see it and a cup .",)
    assert dataset[0].phrases == (Phrase(0, (0, 7), ((0, 0, 4, 5), (2, 2, 12, 5)), ("people", "other")),)
    (source / "Annotations" / "1.xml").write_text("<annotation>")
    with pytest.raises(DataError, match="not an annotation of Flickr30k"):
        convert("flickr30k", source, source.parent / "again")


def test_a_layout_that_is_not_the_formats(source):
    references(source)
    write(source / "instances.json", {"pictures": []})
    with pytest.raises(DataError, match=r"is not laid out as refcoco \(KeyError: 'annotations'\)"):
        convert("refcoco", source, source.parent / "out")


# --- the extracts of public files ------------------------------------------------------------------------------------


def photographs(source):
    shutil.copytree(DATA / "photos" / "coco_open" / "images", source / "images", dirs_exist_ok=True)


@with_data
def test_flickr_layout(source):
    photographs(source)
    shutil.copytree(DATA / "formats" / "flickr30k_entities_style", source, dirs_exist_ok=True)
    report, dataset = converted("flickr30k", source, "all.jsonl")
    assert len(dataset) == 12 and not report.dropped and report.kept > 12
    phrases = [(s.captions[p.caption][slice(*p.span)], p) for s in map(dataset.__getitem__, range(12)) for p in s.phrases]  # fmt: skip
    lights = next(p for words, p in phrases if words == "traffic lights")
    assert len(lights.boxes) == 5 and lights.boxes[0] == (58, 86, 79, 147) and lights.kinds == ("other",)


@with_data
def test_mdetr_layout(source):
    shutil.copytree(DATA / "photos" / "coco_open", source, dirs_exist_ok=True)
    report, dataset = converted("mdetr", source, "grounding_val.jsonl")
    given = json.loads((source / "annotations" / "grounding_val.json").read_text())
    assert sum(len(dataset[i].captions) for i in range(len(dataset))) == len(given["images"])
    assert report.dropped.keys() <= {"box of a crowd"}
    for sample in map(dataset.__getitem__, range(len(dataset))):
        assert all(sample.captions[p.caption][slice(*p.span)].isascii() and p.boxes for p in sample.phrases)


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
