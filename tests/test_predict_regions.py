"""Detection, grounding and referring in use: the user's own words, pictures of any size, what cannot be asked."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.regions import TOKENIZER, micro
from vlfuse.data.phrases import noun_phrases
from vlfuse.data.transforms import EvalTransform
from vlfuse.predict import Predictor
from vlfuse.systems.fiber import Fiber
from vlfuse.tasks.regions import Regions, to_stored
from vlfuse.types import DataError, Images, TaskError

NAMES = ["red star", "Circle", "no such thing"]


@pytest.fixture(scope="module")
def model():
    made = micro()
    with torch.no_grad():  # untrained, it is sure of nothing
        made.head("grounding").predictor.align.bias.fill_(0.0)
        made.head("grounding").predictor.box.weight.normal_(std=0.3)
    return Predictor(made, TOKENIZER, EvalTransform(48), 40, "cpu")


@pytest.fixture(scope="module")
def pictures():
    numbers = np.random.default_rng(0)
    return [
        Image.fromarray(numbers.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for height, width in ((64, 64), (80, 120), (200, 90))
    ]


def close(one, other):
    assert [(d.label, round(d.score, 3)) for d in one] == [(d.label, round(d.score, 3)) for d in other]
    np.testing.assert_allclose([d.box for d in one], [d.box for d in other], atol=0.05)


def test_labels_are_the_users_own_and_boxes_lie_in_the_picture(model, pictures):
    found = model.detect(pictures, NAMES, 0.2)
    for picture, own in zip(pictures, found, strict=True):
        assert own and {d.label for d in own} <= set(NAMES)
        assert [d.score for d in own] == sorted((d.score for d in own), reverse=True)
        assert all(0 <= d.box[0] <= d.box[2] <= picture.width for d in own)
        assert all(0 <= d.box[1] <= d.box[3] <= picture.height for d in own)
    assert max(d.box[2] for d in found[1]) > 80, "in pixels of the picture, not of the model"


def test_boxes_that_end_with_their_last_pixel_are_given_their_end():
    found = Regions(torch.tensor([[0.0, 0.0, 47.0, 23.0]]), torch.ones(1), torch.zeros(1, dtype=torch.long))
    images = Images(torch.zeros(1, 3, 64, 64), torch.tensor([[24, 48]]), torch.tensor([[50, 100]]))
    assert to_stored([found], images, [0], pixel=1.0)[0].boxes.tolist() == [[0.0, 0.0, 100.0, 50.0]]


def test_pictures_of_different_sizes_together_as_alone(model, pictures):
    together = model.detect(pictures, NAMES, 0.2)
    for picture, own in zip(pictures, together, strict=True):
        close(own, model.detect(picture, NAMES, 0.2))


def test_a_threshold_for_each_class(model, pictures):
    everything = model.detect(pictures[0], NAMES, 0.0, most=10_000)
    middle = float(np.median([d.score for d in everything if d.label == "Circle"]))
    chosen = model.detect(pictures[0], NAMES, {"Circle": middle, "red star": 1.0}, rest=0.0, most=10_000)
    expected = [d for d in everything if d.score >= {"Circle": middle, "red star": 1.0}.get(d.label, 0.0)]
    assert len(chosen) == len(expected) > 0
    best = model.detect(pictures[0], NAMES, {"red star": 1.0}, rest=0.0, most=5)
    close(best, [d for d in everything if d.label != "red star"][:5])
    assert len(model.detect(pictures[0], NAMES, 0.0, most=3)) == 3
    for threshold in ({"star": 0.5}, 1.5, float("nan")):
        with pytest.raises(TaskError, match="threshold"):
            model.detect(pictures[0], NAMES, threshold)


def test_hundreds_of_classes_with_one_look_at_the_picture(model, pictures, monkeypatch):
    looks = []
    encode = Fiber.encode_maps
    monkeypatch.setattr(Fiber, "encode_maps", lambda *given: looks.append(1) or encode(*given))
    names = [f"thing {number}" for number in range(120)]
    found = model.detect(pictures[:2], names, 0.3)
    assert len(looks) == 2 == len(found), "pictures of two sizes"
    chunk = model.detect(pictures[0], names[:3], 0.3)
    assert {d.label for d in chunk} <= set(names[:3])


def test_what_classes_may_be(model, pictures):
    assert model.detect(pictures[0], "circle", 0.2)
    twice = model.detect(pictures[0], ["circle", "star", "circle"], 0.2)
    close(twice, model.detect(pictures[0], ["circle", "star"], 0.2))
    many = model.detect(pictures[0], [f"c{number}" for number in range(5000)], 0.8, most=7)
    assert len(many) <= 7
    for names, message in (
        ([], "there are no classes"),
        ([" "], "a class has a name"),
        (["circle " * 60], "alone takes"),
    ):
        with pytest.raises(TaskError, match=message):
            model.detect(pictures[0], names)
    with pytest.raises(TaskError, match="no picture was given"):
        model.detect([], ["circle"])


def test_phrases_are_found_by_words_and_by_characters(model, pictures):
    caption = "a red star above a blue circle, a red star"
    own = model.ground(pictures[0], caption, threshold=0.2)
    assert [g.phrase for g in own] == ["a red star", "a blue circle", "a red star"]
    for g in own:
        assert caption[slice(*g.span)] == g.phrase and len(g.boxes) == len(g.scores)
        assert list(g.scores) == sorted(g.scores, reverse=True) and all(score >= 0.2 for score in g.scores)
    words = model.ground(pictures[0], caption, ["Red star", (17, 30)], threshold=0.2)
    assert [g.span for g in words] == [(2, 10), (34, 42), (17, 30)]
    both = model.ground(pictures, caption, threshold=0.2)
    assert len(both) == 3 and [g.phrase for g in both[2]] == [g.phrase for g in own]
    assert model.ground(pictures[0], caption, threshold=1.0)[0].boxes == ()
    for phrases, error, message in (
        (["green"], TaskError, "does not occur"),
        ([(0, 99)], DataError, "is not one of"),
        ([(5, 5)], DataError, "is not one of"),
    ):
        with pytest.raises(error, match=message):
            model.ground(pictures[0], caption, phrases)
    with pytest.raises(DataError, match="cuts the character"):
        model.ground(pictures[0], "a cafe\u0301", [(2, 6)])
    with pytest.raises(TaskError, match="shorten the text"):
        model.ground(pictures[0], "a circle " * 40)
    with pytest.raises(TaskError, match="caption is blank"):
        model.ground(pictures[0], " ")


def test_one_box_is_meant(model, pictures):
    one = model.refer(pictures[0], "the red star on the left")
    assert one.label == "the red star on the left" and 0 <= one.score <= 1
    several = model.refer(pictures[0], ["the circle", "the red star on the left"])
    close([several[1]], [one])
    pairs = model.refer(pictures[:2], ["the circle", "the star"])
    close(pairs, [model.refer(pictures[0], "the circle"), model.refer(pictures[1], "the star")])
    with pytest.raises(TaskError, match="an expression is blank"):
        model.refer(pictures[0], "")


def test_a_model_without_the_head_says_so(model, pictures):
    bare = Predictor(replace_heads(model.model), TOKENIZER, model.transform, 40, "cpu")
    for ask in (lambda: bare.detect(pictures[0], NAMES), lambda: bare.refer(pictures[0], "it")):
        with pytest.raises(TaskError, match="has no head 'grounding'"):
            ask()


def replace_heads(model):
    return type(model)(model.system, {})


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("a brown dog next to a laptop", ["a brown dog", "a laptop"]),
        ("a man riding a horse on the beach", ["a man", "a horse", "the beach"]),
        ("Two women and their three dogs, one red ball.", ["Two women", "their three dogs", "one red ball"]),
        ("there is a red star", ["a red star"]),
        ("dogs", ["dogs"]),
        ("of", ["of"]),
    ],
)
def test_phrases_are_told_by_the_words_between_them(caption, phrases):
    assert [caption[slice(*span)] for span in noun_phrases(caption)] == phrases
