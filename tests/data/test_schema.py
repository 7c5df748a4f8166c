"""The record: what is taken, what is refused and how the refusal reads."""

import json
import pickle

import pytest

from vlfuse.data.problems import SampleError
from vlfuse.data.schema import parse_sample, to_record, write_jsonl
from vlfuse.types import DataError, Phrase, Sample, Statement

FULL = {
    "id": "42",
    "image": "images/42.jpg",
    "captions": ["a brown dog next to a laptop"],
    "regions": [{"box": [10, 20, 200, 180], "label": "dog", "attributes": ["brown"], "iscrowd": 1}],
    "phrases": [{"caption": 0, "span": [2, 11], "boxes": [[10, 20, 200, 180]]}],
    "expressions": [{"text": "the dog on the left", "box": [10, 20, 200, 180]}],
    "questions": [{"id": "7", "question": "what animal is it?", "answers": ["dog", "dog", "puppy"]}],
    "statements": [{"text": "there are two dogs", "label": "contradiction"}],
    "split": "train",
}


def test_a_full_record_makes_the_round_trip():
    sample = parse_sample(FULL, "d.jsonl:1", "/data")
    assert sample.images == ("/data/images/42.jpg",)
    assert sample.phrases == (Phrase(0, (2, 11), ((10.0, 20.0, 200.0, 180.0),)),)
    assert sample.origin == "d.jsonl:1"
    assert to_record(sample, "/data") == FULL


def test_two_pictures_and_json_booleans():
    sample = parse_sample(
        {"images": ["a.jpg", "s3://b/b.jpg"], "statements": [{"text": "x", "label": True}, {"text": "y"}]}, ""
    )
    assert sample.images == ("a.jpg", "s3://b/b.jpg")
    assert sample.statements == (Statement("x", "true"), Statement("y", ""))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"caption": ["x"]}, "unknown key 'caption'.*keys here: id, image.*captions"),
        ({"images": ["a"]}, "either 'image' .* or 'images'"),
        ({"image": 7}, r"image is 7; it must be a string"),
        ({"captions": "a dog"}, r"captions is 'a dog'; it must be a list"),
        ({"captions": ["a", " "]}, r"captions\[1\] is ' '; it must not be blank"),
        ({"captions": ["x" * 100_001]}, "100001 characters, at most 100000"),
        ({"captions": ["x"] * 10_001}, "10001 entries; at most 10000"),
        (
            {"regions": [{"box": [10, 20, 5, 180], "label": "dog"}]},
            r"regions\[0\].box is .*x1 must exceed x0.*convert coco",
        ),
        ({"regions": [{"box": [1, 2, float("nan"), 3], "label": "d"}]}, "four finite numbers"),
        ({"regions": [{"box": [-1, 2, 3, 4], "label": "d"}]}, "must not be negative.*clip"),
        ({"regions": [{"box": [1, 2, 3], "label": "d"}]}, "four numbers"),
        ({"regions": [{"box": [1, 2, True, 4], "label": "d"}]}, "finite numbers"),
        ({"regions": [{"box": [1, 2, 3, 4]}]}, r"regions\[0\] has no 'label'.*add it"),
        ({"regions": [{"box": [1, 2, 3, 4], "label": "d", "iscrowd": 2}]}, "iscrowd is 2; .* from 0 to 1"),
        (
            {"phrases": [{"caption": 1, "span": [0, 1], "boxes": [[1, 2, 3, 4]]}]},
            r"phrases\[0\].caption is 1; .*from 0 to 0",
        ),
        ({"phrases": [{"caption": 0, "span": [2, 99], "boxes": [[1, 2, 3, 4]]}]}, r"span\[1\] is 99; .*from 0 to 28"),
        ({"phrases": [{"caption": 0, "span": [5, 5], "boxes": [[1, 2, 3, 4]]}]}, "start < end; caption 0 has 28"),
        ({"phrases": [{"caption": 0, "span": [0, 5], "boxes": []}]}, "at least one box"),
        (
            {"statements": [{"text": "x", "label": "maybe"}]},
            "label is 'maybe'; it must be one of true, false, entailment",
        ),
        ({"questions": [{"question": "x?", "answers": "dog"}]}, "answers is 'dog'; it must be a list"),
        ({"questions": [{"question": "x?", "answer": ["dog"]}]}, "unknown key 'answer'"),
    ],
)
def test_what_is_wrong_is_named(change, says):
    with pytest.raises(SampleError, match=r"^d\.jsonl:3: .*" + says):
        parse_sample(FULL | change, "d.jsonl:3")


@pytest.mark.parametrize("record", [[], None, "x", 3])
def test_a_line_that_is_no_object(record):
    with pytest.raises(DataError, match="must be a JSON object with the keys"):
        parse_sample(record, "d.jsonl:3")


def test_errors_survive_the_way_back_from_a_worker():
    error = SampleError("record", "d.jsonl:3", "wrong")
    assert str(pickle.loads(pickle.dumps(error))) == "d.jsonl:3: wrong"


def test_pictures_in_memory_are_not_written(tmp_path):
    with pytest.raises(DataError, match="holds a picture as bytes; save it"):
        to_record(Sample("1", (b"...",)))
    assert write_jsonl(str(tmp_path / "d.jsonl"), [parse_sample(FULL, "", str(tmp_path))]) == 1
    assert json.loads((tmp_path / "d.jsonl").read_text()) == FULL
