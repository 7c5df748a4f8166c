"""Batches of the fine stage: the words and boxes that belong together stay together."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.data.test_images import encoded
from tests.data.test_spans import bytes_tokenizer
from tests.data.test_transforms import NEUTRAL, extent
from vlfuse.data.collate import ALL
from vlfuse.data.grounding import GroundingCollate
from vlfuse.data.loader import Loader
from vlfuse.data.problems import SampleError
from vlfuse.data.prompts import Negatives, PromptMaker
from vlfuse.data.readers import JsonlDataset
from vlfuse.data.scaling import ScaleTransform
from vlfuse.data.scenes import SceneDataset
from vlfuse.types import ConfigError, Expression, Phrase, Region, Sample

BYTES = bytes_tokenizer(False)
SCALE = ScaleTransform((60,), 90, **NEUTRAL)
BLOCK = (10, 20, 30, 40)  # white on black, in a picture of 90 by 60


def picture():
    image = Image.new("RGB", (90, 60), "black")
    image.paste((255, 255, 255), BLOCK)
    return image


def sample(**fields):
    return Sample("1", (picture(),), origin="d.jsonl:1", **fields)


def batch_of(collate, *samples, seed=0):
    return collate([(s, np.random.default_rng([seed, i])) for i, s in enumerate(samples)])


def boxes_of(texts):
    """Those of each text."""
    return [texts.objects.boxes[texts.objects.text == text] for text in range(len(texts.owner))]


def words(texts, text, box):
    """The characters that the tokens of a row spell."""
    rows = texts.objects.positive[texts.objects.text == text]
    return BYTES.decode(texts.tokens.ids[text][rows[box] > 0])


PHRASES = sample(
    captions=("a dog at night", "no box", "the left dog and the dog"),
    phrases=(
        Phrase(0, (0, 5), (BLOCK,)),
        Phrase(2, (0, 12), (BLOCK, (50, 5, 60, 9))),
        Phrase(2, (17, 24), (BLOCK,)),
    ),
)


def test_captions_with_their_phrases():
    grounded = batch_of(GroundingCollate(BYTES, SCALE, 64, "phrases", ALL), PHRASES).grounding
    assert grounded.owner.tolist() == [0, 0]
    assert [len(boxes) for boxes in boxes_of(grounded)] == [1, 2]
    assert words(grounded, 0, 0).strip() == "a dog"
    assert words(grounded, 1, 0) == "the left dogthe dog"  # one box with two names has the tokens of both
    assert words(grounded, 1, 1) == "the left dog"
    assert grounded.objects.positive.shape == (3, grounded.tokens.ids.shape[1])
    assert [r.things for r in grounded.records] == [(0,), (1, 2)]
    assert grounded.records[1].text[slice(*grounded.records[1].spans[1][0])] == "the dog"


def test_what_is_needed_to_bring_boxes_back():
    batch = batch_of(GroundingCollate(BYTES, replace(SCALE, sides=(30,)), 64, "phrases"), PHRASES)
    assert batch.images.stored.tolist() == [[60, 90]] and batch.images.sizes.tolist() == [[30, 45]]
    assert batch.images.pixels.shape[-2:] == (32, 64)
    assert boxes_of(batch.grounding)[0][0].tolist() == [5, 10, 15, 20]
    assert batch.to("cpu").grounding.tokens.ids.equal(batch.grounding.tokens.ids)


def test_fixed_length():
    batch = batch_of(GroundingCollate(BYTES, SCALE, 64, "phrases", pad_to_max=True), PHRASES)
    assert batch.grounding.objects.positive.shape[1] == batch.grounding.tokens.ids.shape[1] == 64


@pytest.mark.parametrize("spans", [(), ((0, 7),)])
def test_expressions(spans):
    s = sample(expressions=(Expression("the dog at night", BLOCK, spans),))
    grounded = batch_of(GroundingCollate(BYTES, SCALE, 64, "expressions", ALL), s).grounding
    assert words(grounded, 0, 0) == ("the dog" if spans else "the dog at night")


def test_classes():
    regions = (Region(BLOCK, "dog"), Region((50, 5, 60, 9), "red cat"), Region((0, 0, 90, 60), "dog", iscrowd=1))
    maker = PromptMaker(("bird", "dog", "red cat"), BYTES, 64)
    collate = GroundingCollate(BYTES, SCALE, 64, "regions", prompts=maker)
    for seed in range(5):
        grounded = batch_of(collate, sample(regions=regions), sample(), seed=seed).grounding
        assert [len(boxes) for boxes in boxes_of(grounded)] == [2, 0]
        assert [words(grounded, 0, row).strip() for row in (0, 1)] == ["dog", "red cat"]


def test_classes_without_room_take_their_boxes_along():
    names = tuple(f"name {i:02d}" for i in range(30))
    maker = PromptMaker(names, BYTES, 40, Negatives(5))
    regions = tuple(Region((i, 0, i + 5, 5), name) for i, name in enumerate(names))
    grounded = batch_of(GroundingCollate(BYTES, SCALE, 40, "regions", prompts=maker), sample(regions=regions)).grounding
    assert 1 <= len(boxes_of(grounded)[0]) < 10
    for row, box in enumerate(boxes_of(grounded)[0]):
        assert words(grounded, 0, row).strip() == f"name {int(box[0]):02d}"


@pytest.mark.parametrize("sides", ["withhold", "swap"])
def test_the_mirror_and_the_sides(sides):
    """A text that names a side is never wrong, and pictures are mirrored where that is so."""
    texts = ("the block on the left", "the block", "the block right behind it")
    collate = GroundingCollate(BYTES, SCALE, 64, "expressions", flip=0.5, sides=sides)
    mirrored = {text: 0 for text in texts}
    for seed in range(40):
        for text in texts:
            named = (4, 9)
            batch = batch_of(collate, sample(expressions=(Expression(text, BLOCK, (named,)),)), seed=seed)
            box, told = boxes_of(batch.grounding)[0][0], batch.grounding.records[0].text
            assert (extent(batch.images.pixels[0][:, :60, :90]) - box).abs().max() <= 1
            turned = bool(box[0] > 45)
            mirrored[text] += turned
            assert told == (text.replace("left", "right") if turned else text)
            assert words(batch.grounding, 0, 0).strip() == "block"
    plain, doubtful = mirrored[texts[1]], mirrored[texts[2]]
    assert 10 <= plain <= 30 and doubtful == 0
    assert mirrored[texts[0]] == (plain if sides == "swap" else 0)


def test_cropping_keeps_words_and_boxes_together():
    transform = replace(SCALE, crop=True, scale=(0.05, 0.3))
    collate = GroundingCollate(BYTES, transform, 64, "phrases")
    far = (70.0, 50.0, 80.0, 58.0)
    s = sample(captions=("a block and a thing",), phrases=(Phrase(0, (0, 7), (BLOCK,)), Phrase(0, (12, 19), (far,))))
    seen = set()
    for seed in range(30):
        grounded = batch_of(collate, s, seed=seed).grounding
        rows = [words(grounded, 0, row).strip() for row in range(len(boxes_of(grounded)[0]))]
        assert rows and set(rows) <= {"a block", "a thing"}
        seen.add(tuple(rows))
    assert len(seen) >= 2


def test_boxes_follow_the_orientation_of_a_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "p.jpg").write_bytes(encoded(picture(), "JPEG", exif=exif))
    turned = replace(PHRASES, images=(str(tmp_path / "p.jpg"),))
    batch = batch_of(GroundingCollate(BYTES, ScaleTransform((60,), 90, **NEUTRAL), 64, "phrases", ALL), turned)
    assert batch.images.stored.tolist() == [[90, 60]]
    assert (extent(batch.images.pixels[0][:, :90, :60]) - boxes_of(batch.grounding)[0][0]).abs().max() <= 2
    assert batch.samples[0].phrases[0].boxes[0] == (20, 10, 40, 30)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (sample(captions=("a",)), "no phrases with a box inside its picture"),
        (sample(captions=("a",), phrases=(Phrase(0, (0, 1), ((95, 5, 99, 9),)),)), "no phrases with a box inside"),
        (Sample("1", (picture(), picture()), origin="d.jsonl:1"), "two pictures"),
        (sample(captions=("ab",), phrases=(Phrase(0, (0, 3), (BLOCK,)),)), "the span .* is not one of 'ab'"),
    ],
)
def test_samples_that_cannot_be_used(given, says):
    with pytest.raises(SampleError, match="d.jsonl:1: .*" + says):
        batch_of(GroundingCollate(BYTES, SCALE, 64, "phrases"), given)


def test_a_class_that_is_none_is_named():
    maker = PromptMaker(("bird",), BYTES, 64)
    with pytest.raises(SampleError, match="labelled 'dog', none of the 1 classes"):
        batch_of(GroundingCollate(BYTES, SCALE, 64, "regions", prompts=maker), sample(regions=(Region(BLOCK, "dog"),)))


def test_settings_that_cannot_work():
    with pytest.raises(ConfigError, match="prompts of classes belong to reads='regions'"):
        GroundingCollate(BYTES, SCALE, 64, "regions")
    with pytest.raises(ConfigError, match="flip is 1.5"):
        GroundingCollate(BYTES, SCALE, 64, "phrases", flip=1.5)
    with pytest.raises(ConfigError, match="texts is 0"):
        GroundingCollate(BYTES, SCALE, 64, "phrases", 0)
    with pytest.raises(ConfigError, match="at least one length"):
        ScaleTransform(())


def test_a_run_goes_on_past_bad_boxes_and_counts_them(tmp_path):
    """Outside the picture, without area, swapped, not numbers; spans outside the caption or inside a character."""
    picture().save(tmp_path / "p.png")

    def line(box=(10, 20, 30, 40), span=(0, 5), caption="a dog here"):
        phrase = {"caption": 0, "span": list(span), "boxes": [list(box)]}
        return json.dumps({"image": "p.png", "captions": [caption], "phrases": [phrase]})

    bad = [
        line(box=(95, 5, 99, 9)),
        line(box=(5, 5, 5, 9)),
        line(box=(30, 5, 5, 9)),
        line(box=(float("nan"), 5, 9, 9)),
        line(box=(-9, 5, 9, 9)),
        line(span=(0, 50)),
        line(span=(0, 4), caption="cafe\u0301"),
        line(caption="a \ud83d dog"),
    ]
    (tmp_path / "d.jsonl").write_text("\n".join([line(), *bad, line()]))
    dataset = JsonlDataset(str(tmp_path / "d.jsonl"))
    loader = Loader(dataset, GroundingCollate(BYTES, SCALE, 64, "phrases"), 5)
    batches = [batch for epoch in range(3) for batch in loader.iterate(epoch)]
    assert len(batches) == 6 and all(len(batch.grounding.owner) == 5 for batch in batches)
    assert len(loader.problems) == len(bad)
    text = "\n".join(str(error) for error in loader.problems.seen.values())
    for number, says in enumerate(("inside its picture", "exceed", "exceed", "finite", "negative", "50", "inside a character", "surrogate"), 2):  # fmt: skip
        assert any(f"d.jsonl:{number}:" in row and says in row for row in text.splitlines()), (says, text)


def test_generated_scenes_have_all_three_kinds():
    scenes = SceneDataset(6, size=64)
    assert scenes[0].phrases and scenes[0].expressions and scenes[0].regions
    labels = tuple(sorted({region.label for i in range(6) for region in scenes[i].regions}))
    for reads in ("phrases", "expressions", "regions"):
        maker = PromptMaker(labels, BYTES, 256) if reads == "regions" else None
        collate = GroundingCollate(BYTES, ScaleTransform((64,), 64), 256, reads, ALL, maker)
        batch = batch_of(collate, *(scenes[i] for i in range(6)))
        assert batch.images.pixels.shape == (6, 3, 64, 64)
        objects = batch.grounding.objects
        assert bool((objects.positive.sum(1) > 0.99).all())
        assert len(objects) > 6 and objects.boxes.max() <= 64
