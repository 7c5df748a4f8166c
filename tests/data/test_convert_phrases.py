"""Public formats of phrases and expressions with boxes: what is kept, what is dropped and why."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from tests.data.formats import BAD, DATA, GOOD, NAMED, converted, put, with_data, write
from vlfuse.data import boxes as trouble
from vlfuse.data.convert import convert
from vlfuse.data.readers import open_dataset
from vlfuse.types import DataError, Expression, Phrase


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
