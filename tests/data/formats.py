"""Public formats in small: their pictures, boxes good and bad, and what a conversion must hold to."""

import json
import os
from pathlib import Path

import pytest

from tests.data.sources import picture
from vlfuse.data import boxes as trouble
from vlfuse.data.check import check
from vlfuse.data.convert import convert
from vlfuse.data.readers import open_dataset

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
