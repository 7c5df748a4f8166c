"""Generated scenes: what is said of a picture is true of it, clear, and in it."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.data import scene_reader as reader
from vlfuse.data.readers import open_dataset
from vlfuse.data.scenes import ANSWERS, SceneDataset
from vlfuse.data.scenes.draw import INK, box_of, draw_scene
from vlfuse.data.scenes.language import refer
from vlfuse.data.scenes.world import (
    COLOURS,
    EXTENTS,
    GAP,
    HELD_OUT,
    PATTERNS,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    Thing,
    View,
    split_of,
)
from vlfuse.data.scenes.write import write_scenes
from vlfuse.types import ConfigError, DataError

MANY = 400


def samples(n=MANY, **options):
    dataset = SceneDataset(n, **{"size": 64, "questions": 8, "captions": 4, "statements": 6} | options)
    return [(dataset[i], dataset.scenes(i)) for i in range(n)]


@pytest.fixture(scope="module", params=["train", "novel"])
def single(request):
    return samples(split=request.param)


def test_questions_have_the_answers_a_separate_reader_finds(single):
    seen = set()
    for sample, (scene,) in single:
        for question in sample.questions:
            assert (reader.answer(scene.things, question.question),) == question.answers, question
            seen.add(question.id.split(".")[-1])
            assert question.answers[0] in ANSWERS
    assert len(seen) == 9


def test_statements_are_as_true_as_they_say(single):
    for sample, (scene,) in single:
        for statement in sample.statements:
            assert {True: "true", False: "false"}[reader.truth(scene.things, statement.text)] == statement.label, (
                statement
            )


def test_paired_statements_are_as_true_as_they_say():
    for sample, (left, right) in samples(paired=True):
        assert len(sample.images) == 2 and sample.statements
        for statement in sample.statements:
            truth = reader.pair_truth(left.things, right.things, statement.text)
            assert {True: "true", False: "false"}[truth] == statement.label, statement


def test_entailment_is_what_every_hidden_thing_would_leave_standing():
    """A statement is neutral just when something behind the curtain could make it true and something could make it false."""
    possible = [Thing(z, p, c, s, 0.5, 0.5, 0.1, 0.1) for z in SIZES for p in PATTERNS for c in COLOURS for s in SHAPES]
    labels = set()
    for sample, (scene,) in samples(120, entailment=True, statements=2):
        for statement in sample.statements:
            labels.add(statement.label)
            assert reader.entailed(scene.things, scene.curtain, statement.text, possible) == statement.label, statement
    assert labels == {"entailment", "neutral", "contradiction"}


def test_expressions_fit_one_thing(single):
    for sample, (scene,) in single:
        for expression in sample.expressions:
            assert box_of(reader.the(scene.things, expression.text), 64) == expression.box
        view = View(scene)
        rng = random.Random(sample.id)
        for index, thing in enumerate(scene.things):
            for without, attribute in enumerate(("size", "pattern", "colour", "shape")):
                text = refer(view, rng, index, without)
                if text is not None:
                    assert reader.the(scene.things, text) == thing
                    assert not any(reader.VALUES.get(word, ("",))[0] == attribute for word in text.split())


def test_phrases_name_what_their_boxes_hold(single):
    for sample, (scene,) in single:
        by_box = {box_of(thing, 64): thing for thing in scene.things}
        assert len(by_box) == len(scene.things)
        for k, caption in enumerate(sample.captions):
            phrases = [(p.span, [by_box[box] for box in p.boxes]) for p in sample.phrases if p.caption == k]
            reader.read_caption(caption, scene.things, phrases)
            if k % 2 == 0:
                reader.read_dense(caption, scene.things, phrases)
        for region in sample.regions:
            thing = by_box[region.box]
            assert (region.label, *region.attributes) == (thing.shape, thing.size, thing.pattern, thing.colour)


def test_dense_captions_tell_scenes_apart():
    captions = [sample.captions[0] for sample, _ in samples(1000, fields=["captions"], captions=1)]
    assert len({frozenset(c.replace(",", " ").replace(";", " ").replace(".", " ").split()) for c in captions}) > 950
    assert len(set(captions)) == 1000


def test_boxes_are_tight_and_apart(single):
    """Every box lies in the picture, holds its thing's colour up to all four sides, and leaves clear ground to the next."""
    for sample, (scene,) in single[:80]:
        bare = draw_scene(scene._replace(things=()), 64)
        changed = (sample.images[0] != bare).any(axis=-1)
        inside = np.zeros_like(changed)
        for box, thing in ((box_of(t, 64), t) for t in scene.things):
            x0, y0, x1, y1 = (int(v) for v in box)
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
            assert abs(max(x1 - x0, y1 - y0) - 64 * max(thing.width, thing.height)) <= 1
            patch = changed[y0:y1, x0:x1]
            assert patch[0].any() and patch[-1].any() and patch[:, 0].any() and patch[:, -1].any()
            assert not inside[y0:y1, x0:x1].any()
            inside[y0:y1, x0:x1] = True
            nearest = np.abs(sample.images[0][y0:y1, x0:x1].astype(int) - INK[thing.colour]).sum(axis=-1).min()
            assert nearest <= 3, "the pure colour shows somewhere"
        assert not (changed & ~inside).any()
    for _, (scene,) in single:
        for a in scene.things:
            for b in scene.things:
                if a is not b:
                    gap = max(abs(a.x - b.x) - (a.width + b.width) / 2, abs(a.y - b.y) - (a.height + b.height) / 2)
                    assert gap > GAP - 1e-9


def test_sizes_never_blur():
    assert max(EXTENTS["small"]) * 1.5 < min(EXTENTS["large"])


@pytest.mark.parametrize("side", [64, 96, 131])
def test_every_kind_looks_unlike_every_other(side):
    """Two things that differ in pattern alone still differ clearly in pixels, at every side."""
    for size in SIZES:
        for shape in SHAPES:
            extent = EXTENTS[size][0]
            height = extent * 0.55 if shape == "rectangle" else extent
            pictures = []
            for pattern in PATTERNS:
                thing = Thing(size, pattern, "blue", shape, 0.5, 0.5, extent, height)
                pictures.append(draw_scene(Scene((thing,), 0), side).astype(float))
            area = extent * height * side**2
            for i in range(3):
                for j in range(i):
                    assert np.abs(pictures[i] - pictures[j])[..., 0].sum() > 0.03 * 255 * area, (size, shape, i, j)


def test_sample_is_a_function_of_seed_split_and_index():
    def flat(sample):
        return (
            sample.id,
            [image.tobytes() for image in sample.images],
            sample.captions,
            sample.questions,
            sample.statements,
        )

    first, again = SceneDataset(50, seed=3, size=64), SceneDataset(60, seed=3, size=64)
    for i in (49, 0, 7):
        assert flat(first[i]) == flat(again[i])
    assert flat(SceneDataset(50, seed=4, size=64)[7])[1:] != flat(first[7])[1:]
    assert flat(SceneDataset(50, seed=3, split="val", size=64)[7])[1:] != flat(first[7])[1:]
    one = SceneDataset(50, seed=3, size=64, fields=["questions"])[7]
    assert one.questions == first[7].questions and not one.captions
    assert np.array_equal(one.images[0], first[7].images[0])
    assert SceneDataset(50, seed=3, size=128).scenes(7) == first.scenes(7)


@pytest.mark.parametrize("options", ["", ",paired=1,fields=statements", ",trays=1"])
def test_several_sizes(options):
    several = open_dataset(f"scenes:40,seed=3,size=64+96+128{options}")
    heights = set()
    for i in range(len(several)):
        sample = several[i]
        (height,) = {image.shape[0] for image in sample.images}
        heights.add(height)
        alone = open_dataset(f"scenes:40,seed=3,size={height}{options}")[i]
        assert replace(sample, images=()) == replace(alone, images=())
        assert all(np.array_equal(a, b) for a, b in zip(sample.images, alone.images, strict=True))
    assert heights == {64, 96, 128}


def test_splits_share_no_set_of_things():
    bags = {}
    for split in SPLITS:
        bags[split] = {tuple(sorted(t[:4] for t in s.things)) for _, (s,) in samples(300, split=split, fields=[])}
    for split in SPLITS:
        assert all(split_of(s) == split for _, (s,) in samples(100, split=split, fields=[]))
        for other in SPLITS:
            assert other == split or not bags[split] & bags[other]


def test_held_out_combinations_are_neither_shown_nor_named():
    for options in ({}, {"split": "val"}, {"paired": True}, {"entailment": True}):
        for sample, scenes in samples(150, **options):
            assert not {(t.colour, t.shape) for scene in scenes for t in scene.things} & HELD_OUT
            texts = [*sample.captions, *(q.question for q in sample.questions), *(s.text for s in sample.statements)]
            for colour, shape in HELD_OUT:
                assert not any(f"{colour} {shape}" in text for text in texts)
                assert not any(f"{colour} is a {shape}" in t or f"{shape}s are {colour}" in t for t in texts)
    for _, (scene,) in samples(50, split="novel", fields=[]):
        assert {(t.colour, t.shape) for t in scene.things} & HELD_OUT


@pytest.mark.parametrize("paired", [False, True])
def test_written_scenes_read_back(tmp_path, paired):
    file = write_scenes(tmp_path / "scenes", 3, seed=1, split="val", size=64, paired=paired)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    dataset = SceneDataset(3, seed=1, split="val", size=64, paired=paired)
    for i, record in enumerate(records):
        paths = record["images"] if paired else [record["image"]]
        for path, picture in zip(paths, dataset[i].images, strict=True):
            assert np.array_equal(np.asarray(Image.open(file.parent / path)), picture)
        assert [s["text"] for s in record["statements"]] == [s.text for s in dataset[i].statements]
        assert record["split"] == "val"
    with pytest.raises(DataError, match="exists"):
        write_scenes(tmp_path / "scenes", 3)


def test_options_that_cannot_be_served_are_named():
    with pytest.raises(ConfigError, match=r"'dev'.*train, val"):
        SceneDataset(1, split="dev")
    with pytest.raises(ConfigError, match="boxes"):
        SceneDataset(1, fields=["boxes"])
    with pytest.raises(ConfigError, match="questions"):
        SceneDataset(1, paired=True, fields=["questions"])
    with pytest.raises(ConfigError, match="32"):
        SceneDataset(1, size=32)
    with pytest.raises(ConfigError, match="at least 64 pixels"):
        SceneDataset(1, size=(64, 32))
    with pytest.raises(ConfigError, match="both set"):
        SceneDataset(1, paired=True, entailment=True)
    with pytest.raises(ConfigError, match=r"novel.*train, val and test"):
        SceneDataset(1, trays=True, split="novel")
    with pytest.raises(ConfigError, match="statements is 9.*at most 8"):
        SceneDataset(1, trays=True, statements=9)
    with pytest.raises(ConfigError, match="captions"):
        SceneDataset(1, trays=True, fields=["captions"])
    with pytest.raises(IndexError):
        SceneDataset(5)[5]


def test_a_first_lesson_holds_few_things():
    easy = SceneDataset(40, size=64, things=2, fields=("regions",))
    assert {len(easy[i].regions) for i in range(len(easy))} == {2}
    with pytest.raises(ConfigError, match="2 to 6"):
        SceneDataset(1, things=1)
