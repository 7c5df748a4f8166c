"""Held-out pictures among the training data are found: by number, by path, and by what they show."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlfuse.commands import data as command
from vlfuse.data.leaks import find_leaks, visual_genome_numbers
from vlfuse.data.readers import JsonlDataset
from vlfuse.types import Sample

DATA = Path(os.environ.get("VLFUSE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def samples(*names):
    return [Sample(name, (name,), origin=f"d.jsonl:{place}") for place, name in enumerate(names)]


def found(training, held_out, **options):
    return [(leak.training.images[0], leak.by) for leak in find_leaks(training, held_out, **options)]


def photograph(seed, size=(120, 90)):
    """Smooth enough that scaling keeps it."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_coco_numbers_in_every_form():
    held_out = samples("refs/COCO_train2014_000000000042.jpg", "coco/val2017/000000000007.jpg")
    training = samples(
        "train2017/000000000042.jpg",
        "COCO_train2014_000000000042_16.jpg",
        "images/COCO_val2014_000000000007.png",
        "train2017/000000000420.jpg",
        "vg/42.jpg",  # a number of another data set
        "vg/7.jpg",
    )
    assert [name for name, _ in found(training, held_out)] == [s.id for s in training[:3]]
    numbers = visual_genome_numbers([{"image_id": 7, "coco_id": 42}, {"image_id": 42, "coco_id": None}])
    assert [name for name, _ in found(training[4:], held_out, coco_numbers=numbers)] == ["vg/7.jpg"]


def test_refcoco_splits_that_share_a_picture():
    """refs(google) has val pictures in its training split."""
    train, val = samples("a/000000000001.jpg", "a/000000000002.jpg"), samples("a/000000000002.jpg")
    assert found(train, val) == [("a/000000000002.jpg", "name")]
    assert found(train, samples("b/000000000003.jpg", "a.jpg")) == []
    assert found(samples("x/a.jpg"), samples("x/a.jpg", "y/a.jpg")) == [("x/a.jpg", "name")]
    assert found(samples("z/a.jpg"), samples("x/a.jpg", "y/a.jpg")) == []


def test_copies_under_other_names(tmp_path):
    names = {}
    for seed in range(12):
        names[seed] = str(tmp_path / f"{seed}.png")
        photograph(seed).save(names[seed])
    copy = str(tmp_path / "copy.jpg")
    photograph(3).resize((70, 50), Image.Resampling.LANCZOS).save(copy, quality=60)
    held_out, training = samples(names[0], names[3], names[5]), samples(copy, *(names[i] for i in range(6, 12)), "gone")
    assert found(training, held_out) == []
    assert found(training, held_out, content=True) == [(copy, "content")]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set VLFUSE_DATA to the folder of public data sets")
def test_photographs(tmp_path):
    """No two of them are alike; a copy of every seventh is found, no more."""
    paths = sorted((DATA / "photos" / "coco_open" / "images").glob("*.jpg"))[:70]
    half, rest = samples(*map(str, paths[::2])), samples(*map(str, paths[1::2]))
    assert found(half, rest, content=True) == []
    copies = []
    for path in paths[::7]:
        with Image.open(path) as image:
            copies.append(tmp_path / f"copy-{path.stem}.jpg")
            image.convert("RGB").resize((320, 200)).save(copies[-1], quality=50)
    assert len(found(samples(*map(str, copies)), [*half, *rest], content=True)) == len(copies)


def test_the_command_names_and_removes_them(tmp_path, capsys):
    for name in ("000000000001.png", "000000000002.png"):
        photograph(1).save(tmp_path / name)
    lines = [json.dumps({"image": f"00000000000{i}.png", "captions": ["a"]}) for i in (1, 2)]
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, "broken"]))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "test.jsonl").write_text(json.dumps({"image": "../000000000002.png"}))
    out = tmp_path / "clean" / "train.jsonl"
    out.parent.mkdir()
    arguments = [str(tmp_path / "train.jsonl"), str(tmp_path / "sub" / "test.jsonl")]
    assert command.main(["leaks", *arguments, "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert f"{arguments[0]}:2 is {arguments[1]}:1 (by name)" in said and "1 of 3 samples" in said
    assert command.main(["leaks", str(out), arguments[1]]) == 0
    clean = JsonlDataset(str(out))
    assert len(clean) == 1 and Path(clean[0].images[0]).resolve() == tmp_path / "000000000001.png"
