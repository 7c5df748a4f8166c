"""A dataset with everything that can be wrong: each record works or is named with file and line, and a run goes on."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.sources import picture
from tests.data.test_images import encoded, noise, png_header
from vlfuse.data.check import check
from vlfuse.data.collate import Collate
from vlfuse.data.loader import Loader
from vlfuse.data.readers import JsonlDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import TrainTransform
from vlfuse.types import DataError

TOKENIZER = Tokenizer.load("scenes")
COLLATE = Collate(TOKENIZER, TrainTransform(24, flip=True), max_text=16, captions=1)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(), "JPEG", exif=exif)


WORKS = {
    "plain": encoded(picture()),
    "one pixel": encoded(Image.new("RGB", (1, 1), "red")),
    "greyscale": encoded(Image.new("L", (9, 7), 80)),
    "transparent": encoded(Image.new("RGBA", (9, 7), (1, 2, 3, 40))),
    "cmyk": encoded(Image.new("CMYK", (9, 7), (0, 99, 200, 3)), "JPEG"),
    "16 bit": encoded(Image.fromarray(np.full((7, 9), 40_000, dtype=np.uint16))),
    "palette": encoded(picture().convert("P")),
    "exif": turned(),
}
NAMED = {
    "truncated": (encoded(noise(), "JPEG")[:900], "truncated"),
    "header": (png_header(30_000, 30_000), "at most 80,000,000 pixels"),
    "text": (b"not a picture", "not a picture"),
    "empty": (b"", "0 bytes"),
    "missing": (None, "there is no picture"),
}


@pytest.fixture
def dataset(tmp_path):
    lines, expected = [], {}
    for name, content in WORKS.items():
        (tmp_path / name).write_bytes(content)
        lines.append(json.dumps({"id": name, "image": name, "captions": [f"a red {name}"]}))
    lines.append(json.dumps({"id": "long", "image": "plain", "captions": ["red star " * 1112]}))  # 10,008 characters
    for name, (content, says) in NAMED.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        lines.append(json.dumps({"id": name, "image": name, "captions": ["a circle"]}))
        expected[len(lines)] = says
    for line, says in (
        ('{"image": "plain"', "not valid JSON"),
        ('{"image": "plain", "text": "x"}', "unknown key 'text'"),
    ):
        lines.append(line)
        expected[len(lines)] = says
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return JsonlDataset(str(path)), expected


def test_check_names_each(dataset):
    data, expected = dataset
    report = check(data, TOKENIZER, max_text=16)
    assert report.usable == len(WORKS) + 1 and report.truncated == 1
    assert [problem.origin for problem in report.problems] == [f"{data.path}:{line}" for line in expected]
    for problem, says in zip(report.problems, expected.values(), strict=True):
        assert says in str(problem)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_and_counts(dataset, workers):
    data, expected = dataset
    loader = Loader(data, COLLATE, 4, workers=workers)
    batches = [batch for epoch in range(2) for batch in loader.iterate(epoch)]
    assert len(batches) == 2 * (len(data) // 4)
    for batch in batches:
        assert batch.images.pixels.shape == (4, 3, 24, 24) and batch.images.pixels.isfinite().all()
        assert batch.captions is not None and batch.captions.tokens.ids.shape[1] <= 16
    whole = Loader(data, COLLATE, 4, shuffle=False, workers=workers)
    assert sum(len(batch.samples) for batch in whole.iterate()) == len(WORKS) + 1
    assert len(whole.problems) == len(expected)


def test_strict_stops_at_the_first(dataset):
    data, expected = dataset
    with pytest.raises(DataError, match=f"data.jsonl:{next(iter(expected))}: "):
        list(Loader(data, COLLATE, 4, shuffle=False, strict=True).iterate())
