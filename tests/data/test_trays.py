"""Generated trays: what is said of a picture is true of it, its regions hold what is drawn, and all follows from the seed."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
from PIL import Image

from tests.data.tray_reader import RULES, Reader
from vlfuse.data.readers import open_dataset
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.scenes.trays import (
    BETWEEN,
    BETWEEN_BLOCKS,
    COLOURS,
    GAP,
    GROUND,
    STEP,
    TRAYS,
    boxes_of,
    draw_trays,
    tray_boxes,
)
from vlfuse.data.scenes.write import write_scenes
from vlfuse.types import ConfigError

SPLITS = ("train", "val", "test")


def trays_set(n, **options):
    return SceneDataset(n, **{"size": 64, "trays": True} | options)


@pytest.fixture(scope="module")
def made():
    dataset = trays_set(700, seed=1, statements=3)
    return [dataset.trays(i) for i in range(len(dataset))]


def test_statements_are_as_true_as_a_separate_reader_finds(made):
    used = set()
    for trays, said in made:
        reader = Reader(trays.trays)
        for text, label in said:
            assert {True: "true", False: "false"}[reader.truth(text)] == label, text
        used |= reader.used
    assert used == RULES, f"never said: {RULES - used}"


def test_reader_of_trays_has_teeth(made):
    """Trays of one picture and statements of the next do not fit, and bad English is refused."""
    alike = [(a, said) for (a, _), (b, said) in pairwise(made) if a.towers == b.towers]
    fits = []
    for trays, said in alike:
        for text, label in said:
            if "the tower with" not in text:
                fits.append({True: "true", False: "false"}[Reader(trays.trays).truth(text)] == label)
    assert 0.4 < np.mean(fits) < 0.8
    for text in ("there is a item", "there are one circle", "there is  a circle", "there are two circle", "is it blue"):
        with pytest.raises(AssertionError):
            Reader(made[0][0].trays).truth(text)


def test_labels_are_half_and_half_in_every_kind(made):
    for towers in (True, False):
        labels = [label == "true" for trays, said in made if trays.towers == towers for _, label in said]
        assert len(labels) > 600 and 0.45 < np.mean(labels) < 0.55


def test_things_lie_in_their_tray_and_apart(made):
    for trays, _ in made:
        assert len(trays.trays) == TRAYS and all(trays.trays)
        for tray in trays.trays:
            for thing in tray:
                assert thing.width / 2 - 1e-9 <= thing.x <= 1 - thing.width / 2 + 1e-9
                assert thing.height / 2 - 1e-9 <= thing.y <= 1 - thing.height / 2 + 1e-9
            for a, b in combinations(tray, 2):
                gap = max(abs(a.x - b.x) - (a.width + b.width) / 2, abs(a.y - b.y) - (a.height + b.height) / 2)
                assert gap > (BETWEEN_BLOCKS if trays.towers else GAP) - 1e-9


@pytest.mark.parametrize("side", [64, 100, 128])
def test_boxes_are_tight_around_what_is_drawn(made, side):
    """Boxes lie in their tray, never meet, are the extent of what is not ground, and hold their thing's pure colour."""
    for trays, _ in made[:120]:
        picture, boxes = draw_trays(trays, side), boxes_of(trays, side)
        assert picture.shape == (side, 4 * side, 3) and picture.dtype == np.uint8
        drawn = ((picture != GROUND) & (picture != BETWEEN)).any(axis=-1)
        inside = np.zeros_like(drawn)
        owners = [(number, thing) for number, tray in enumerate(trays.trays) for thing in tray]
        for box, (number, thing) in zip(boxes, owners, strict=True):
            x0, y0, x1, y1 = map(int, box)
            assert box == (x0, y0, x1, y1)
            start = round(STEP * number * side)
            assert start <= x0 < x1 <= start + side and 0 <= y0 < y1 <= side
            patch = drawn[y0:y1, x0:x1]
            assert patch[0].any() and patch[-1].any() and patch[:, 0].any() and patch[:, -1].any()
            around = inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
            assert not around.any(), "ground shows between two things"
            inside[y0:y1, x0:x1] = True
            middle = picture[(y0 + y1) // 2, (x0 + x1) // 2].astype(int)
            assert np.abs(middle - COLOURS[thing.colour]).max() <= 1
            touching = (thing.x - thing.width / 2 < 1e-6, thing.x + thing.width / 2 > 1 - 1e-6)
            assert touching == (x0 == start, x1 == start + side), "seen to touch a wall just when it is said to"
        assert not (drawn & ~inside).any()


def test_shapes_and_what_lies_between_the_trays(made):
    trays = next(trays for trays, _ in made if not trays.towers)
    picture = draw_trays(trays, 100)
    assert (picture[:, 100:150] == BETWEEN).all() and (picture[:, 250:300] == BETWEEN).all()
    for trays, _ in made[:60]:
        picture = draw_trays(trays, 100)
        shapes = [thing.shape for tray in trays.trays for thing in tray]
        for shape, (x0, y0, x1, y1) in zip(shapes, boxes_of(trays, 100), strict=True):
            patch = (picture[int(y0) : int(y1), int(x0) : int(x1)] != GROUND).any(axis=-1)
            corners = patch[0, 0], patch[0, -1], patch[-1, 0], patch[-1, -1]
            assert sum(corners) == {"square": 4, "triangle": 2, "circle": 0}[shape], shape


def test_regions_name_what_the_trays_hold():
    dataset = trays_set(40, seed=4)
    for i in range(len(dataset)):
        sample, (trays, said) = dataset[i], dataset.trays(i)
        things = [thing for tray in trays.trays for thing in tray]
        for region, thing in zip(sample.regions, things, strict=True):
            assert region.label == ("block" if trays.towers else thing.shape) and thing.colour in region.attributes
            assert ("touching the edge" in region.attributes) == (not trays.towers and touches_an_edge(thing))
        assert [r.box for r in sample.regions] == boxes_of(trays, 64)
        assert [(s.text, s.label) for s in sample.statements] == said
        assert np.array_equal(sample.images[0], draw_trays(trays, 64))


def touches_an_edge(thing):
    sides = (
        thing.x - thing.width / 2,
        1 - thing.x - thing.width / 2,
        thing.y - thing.height / 2,
        1 - thing.y - thing.height / 2,
    )
    return min(sides) < 1e-6


def test_clauses_of_trays_are_true_of_them():
    """ "there is a tower with <clause>" and "each box has <clause>" are as true as the regions of the trays say."""
    dataset = trays_set(150, seed=5, parts="trays", fields=["regions"])
    seen = 0
    for i in range(len(dataset)):
        sample, (trays, _) = dataset[i], dataset.trays(i)
        label = "tower" if trays.towers else "box"
        assert [r.label for r in sample.regions] == [label] * TRAYS and [r.box for r in sample.regions] == tray_boxes(
            64
        )
        for clause in {words for region in sample.regions for words in region.attributes}:
            held = sum(clause in region.attributes for region in sample.regions)
            assert Reader(trays.trays).truth(f"each {label} has {clause}") == (held == TRAYS), clause
            seen += 1
    assert seen > 300
    kinds = {r.label for i in range(40) for r in trays_set(40, parts="either", fields=["regions"])[i].regions}
    assert {"tower", "box", "block", "circle"} <= kinds
    with pytest.raises(ConfigError, match="parts is 'all'"):
        SceneDataset(1, trays=True, parts="all")
    with pytest.raises(ConfigError, match="parts is 'trays'"):
        SceneDataset(1, parts="trays")


def test_splits_share_no_set_of_things():
    bags = {}
    for split in SPLITS:
        dataset = trays_set(200, split=split, statements=1)
        drawn = [dataset.trays(i)[0].trays for i in range(len(dataset))]
        bags[split] = {tuple(sorted(tuple(sorted(t[:4] for t in tray)) for tray in trays)) for trays in drawn}
    for one, other in combinations(SPLITS, 2):
        assert len(bags[one]) > 100 and not bags[one] & bags[other]


def test_a_sample_is_a_function_of_seed_split_and_index():
    def flat(sample):
        return sample.images[0].tobytes(), sample.statements, sample.regions

    first, again = trays_set(20, seed=3), trays_set(30, seed=3)
    for i in (19, 0, 7, 0):
        assert flat(first[i]) == flat(again[i]) and first[i].id == again[i].id
    others = (trays_set(20, seed=4)[7], trays_set(20, seed=3, split="val")[7], first[8])
    assert all(flat(other) != flat(first[7]) and other.id != first[7].id for other in others)
    assert trays_set(20, seed=3, size=128).trays(7) == first.trays(7)
    for fields in ([], ["statements"], ["regions"]):
        part = trays_set(20, seed=3, fields=fields)[7]
        assert part.images[0].tobytes() == first[7].images[0].tobytes()
        assert part.statements == (first[7].statements if "statements" in fields else ())
        assert part.regions == (first[7].regions if "regions" in fields else ())
    with pytest.raises(IndexError):
        first[20]


def test_written_trays_read_back(tmp_path):
    file = write_scenes(tmp_path / "trays", 3, seed=1, split="val", size=64, trays=True)
    dataset = trays_set(3, seed=1, split="val")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    read = open_dataset(str(file))
    assert len(records) == len(read) == 3
    for i, record in enumerate(records):
        assert np.array_equal(np.asarray(Image.open(file.parent / record["image"])), dataset[i].images[0])
        assert record["split"] == "val"
        assert (read[i].statements, read[i].regions) == (dataset[i].statements, dataset[i].regions)


def test_trays_open_by_name():
    dataset = open_dataset("scenes:5,trays=1,size=64")
    assert len(dataset) == 5
    for i in range(5):
        assert dataset[i].images[0].shape == (64, 256, 3) and len(dataset[i].statements) == 2  # type: ignore[union-attr]
        assert dataset[i].statements == trays_set(5)[i].statements
    with pytest.raises(ConfigError, match="both set"):
        open_dataset("scenes:5,trays=1,paired=1")
