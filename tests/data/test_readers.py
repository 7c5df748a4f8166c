"""JSONL, tar shards and COCO files; what is wrong with one is named with file and line."""

import json
import pickle
from pathlib import Path

import fsspec
import pytest

from tests.data.sources import jsonl, picture, png, record, tar
from vlfuse.data.check import check
from vlfuse.data.files import expand
from vlfuse.data.images import load_image
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import CocoDataset, JsonlDataset, TarDataset, open_dataset
from vlfuse.engine.run import fingerprint
from vlfuse.types import ConfigError, DataError


def test_jsonl_reads_any_line_with_its_number(tmp_path):
    path = tmp_path / "d.jsonl"
    text = (
        json.dumps(record(0))
        + "\n  \n\n"
        + json.dumps(record(1) | {"captions": ["größe"]})
        + "\r\n"
        + json.dumps(record(2))
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    dataset = JsonlDataset(str(path))
    assert [dataset[i].id for i in (2, 0, 1)] == ["2", "0", "1"]
    assert dataset[1].captions == ("größe",)
    assert dataset[1].origin == f"{path}:4"
    assert dataset[1].images == (str(tmp_path / "images/1.png"),)


def test_files_are_joined(tmp_path):
    """Each with its own pictures and line numbers; a plus in a name joins nothing."""
    one, other = jsonl(tmp_path / "refcoco+", 2), jsonl(tmp_path / "b", 1)
    both = open_dataset(f"{one}+{other}")
    assert [both[i].id for i in range(len(both))] == ["0", "1", "0"]
    assert both[2].origin == f"{other}:1" and both[2].images == (str(tmp_path / "b" / "images/0.png"),)
    assert len(open_dataset(one)) == 2
    assert fingerprint(f"{one}+{other}").keys() == {one, other}
    with pytest.raises(IndexError):
        both[3]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"image": "a.png",}', "not valid JSON: .* at character"),
        ('{"image": "a.png"', "not valid JSON"),
        ('{"image": "a.png", "caption": "x"}', "unknown key 'caption'"),
        ("[" * 100_000, "not valid JSON|nested too deeply"),
        ('{"image": "a.png", "regions": [{"box": [0, 0, NaN, 1], "label": "x"}]}', "four finite numbers"),
    ],
)
def test_a_bad_line_is_named_and_the_others_still_read(tmp_path, line, says):
    path = jsonl(tmp_path, 3, {1: line})
    dataset = JsonlDataset(path)
    with pytest.raises(SampleError, match=says) as caught:
        dataset[1]
    assert str(caught.value).startswith(f"{path}:2: ")
    assert dataset[2].id == "2"


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"image": "\xff.png"}\n')
    with pytest.raises(SampleError, match=r"d.jsonl:1: not UTF-8 at byte 11; save the file as UTF-8"):
        JsonlDataset(str(path))[0]


def test_datasets_travel_to_workers(tmp_path):
    dataset = JsonlDataset(jsonl(tmp_path, 3))
    assert pickle.loads(pickle.dumps(dataset))[2] == dataset[2]


def test_any_file_system(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/set/d.jsonl", json.dumps(record(5)).encode())
    memory.pipe("/set/images/5.png", png(5))
    sample = JsonlDataset("memory://set/d.jsonl")[0]
    assert load_image(sample.images[0]).tobytes() == picture(5).tobytes()
    memory.pipe("/set/s-0.tar", Path(tar(tmp_path / "s.tar", {"1.png": png(1), "1.txt": b"one"})).read_bytes())
    assert TarDataset("memory://set/s-*.tar")[0].captions == ("one",)


def test_tar_shards_hold_records_pairs_and_captions(tmp_path):
    pair = {"id": "p", "images": ["x", "y"], "statements": [{"text": "both", "label": "true"}]}
    tar(tmp_path / "s-08.tar", {"a/1.json": json.dumps(record(1)).encode(), "a/1.png": png(1)})
    tar(
        tmp_path / "s-09.tar",
        {
            "2.1.png": png(3),
            "2.png": png(2),
            "2.json": json.dumps(pair).encode(),
            "3.png": png(4),
            "3.txt": b" a dog \n",
        },
    )
    dataset = TarDataset(str(tmp_path / "s-{08..09}.tar"))
    assert len(dataset) == 3
    assert dataset[0].id == "1" and dataset[0].origin == f"{tmp_path}/s-08.tar:a/1.json"
    assert [load_image(source).tobytes() for source in dataset[1].images] == [picture(i).tobytes() for i in (2, 3)]
    assert dataset[2].captions == ("a dog",) and dataset[2].id == "3"
    assert len(open_dataset(str(tmp_path / "s-*.tar"))) == 3


def test_bad_shards_are_named(tmp_path):
    path = tar(
        tmp_path / "s.tar", {"1.png": png(), "2.json": json.dumps(record(1)).encode(), "3.json": b"{", "3.png": png()}
    )
    dataset = TarDataset(path)
    with pytest.raises(SampleError, match=r"s.tar:1: no .json or .txt"):
        dataset[0]
    with pytest.raises(SampleError, match=r"s.tar:2.json: no picture of this name"):
        dataset[1]
    with pytest.raises(SampleError, match=r"s.tar:3.json: not valid JSON"):
        dataset[2]
    (tmp_path / "no.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(DataError, match="not a plain tar archive"):
        TarDataset(str(tmp_path / "no.tar"))
    with pytest.raises(DataError, match="no file matches"):
        TarDataset(str(tmp_path / "gone-*.tar"))


def test_expand():
    assert expand("a-{098..101}.tar") == ["a-098.tar", "a-099.tar", "a-100.tar", "a-101.tar"]
    assert expand("{9..10}/{0..1}") == ["9/0", "9/1", "10/0", "10/1"]
    with pytest.raises(DataError, match=r"cannot count '\{a,b\}'.*\{000000..000009\}"):
        expand("x-{a,b}.tar")


def coco(folder, captions=(), boxes=()):
    (folder / "images").mkdir(exist_ok=True)
    pictures = [{"id": 7, "file_name": "7.png", "width": 12, "height": 10}, {"id": 9, "file_name": "9.png"}]
    said = [{"image_id": image, "caption": text} for image, text in captions]
    found = [{"image_id": image, "bbox": box, "category_id": 3, "iscrowd": 0} for image, box in boxes]
    (folder / "c.json").write_text(json.dumps({"images": pictures, "annotations": said}))
    categories = [{"id": 3, "name": "dog"}]
    (folder / "i.json").write_text(json.dumps({"images": pictures[:1], "annotations": found, "categories": categories}))
    return f"{folder}/c.json+{folder}/i.json"


def test_coco_groups_captions_and_turns_and_clips_boxes(tmp_path, caplog):
    spec = coco(
        tmp_path, [(7, "one "), (9, "two"), (7, "three")], [(7, [2, 3, 4, 5]), (7, [-1, 8, 4, 9]), (7, [50, 50, 2, 2])]
    )
    dataset = open_dataset(spec)
    assert isinstance(dataset, CocoDataset)
    assert [sample.captions for sample in (dataset[0], dataset[1])] == [("one", "three"), ("two",)]
    assert [region.box for region in dataset[0].regions] == [(2, 3, 6, 8), (0, 8, 3, 10)]
    assert dataset[0].regions[0].label == "dog"
    assert dataset[0].images == (f"{tmp_path}/images/7.png",)
    assert (dataset.dropped, dataset.cut) == ({"box outside the picture": 1}, 1)
    assert check(dataset).left_out == dataset.dropped and "left out 1 times box outside the picture" in caplog.text
    assert open_dataset(spec + "@/photos")[1].images == ("/photos/9.png",)


def test_json_that_is_not_coco(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"not a COCO captions or instances file.*'images'"):
        open_dataset(str(tmp_path / "x.json"))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        open_dataset(str(tmp_path / "y.json"))


def test_generated_scenes_by_name():
    dataset = open_dataset("scenes:3,seed=1,size=64,paired=1")
    assert len(dataset) == 3
    assert len(dataset[0].images) == 2


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("data.csv", DataError, "cannot tell what 'data.csv' is; datasets are FILE.jsonl"),
        ("gone.jsonl", DataError, "there is no file gone.jsonl"),
        ("gone.json", DataError, "there is no file gone.json"),
        ("scenes:many", ConfigError, "asks for 'many' scenes"),
        ("scenes:5,colour=red", ConfigError, "unknown option 'colour'.*seed, split"),
        ("scenes:5,seed=x", ConfigError, "'seed=x' .* whole number"),
    ],
)
def test_names_that_open_nothing(spec, error, says):
    with pytest.raises(error, match=says):
        open_dataset(spec)


def test_an_empty_file(tmp_path):
    (tmp_path / "d.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="is empty; a dataset has one JSON record a line"):
        JsonlDataset(str(tmp_path / "d.jsonl"))
