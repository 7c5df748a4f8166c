"""A model in use: pictures of any kind, one or many, and what each method returns."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import vlfuse
from tests.micro import micro_model
from vlfuse.types import Answer, ConfigError, TaskError

QUESTIONS = [f"is there a {colour} circle?" for colour in ("red", "blue", "green")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return micro_model(tmp_path_factory.mktemp("models") / "micro")


@pytest.fixture(scope="module")
def model(folder):
    return vlfuse.load(str(folder), device="cpu")


@pytest.fixture(scope="module")
def pictures():
    numbers = np.random.default_rng(0)
    return [Image.fromarray(numbers.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(5)]


def test_every_kind_of_picture_gives_the_same_answer(model, pictures, tmp_path):
    picture = pictures[0]
    path = tmp_path / "a.png"
    picture.save(path)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
    answers = [model.ask(kind, QUESTIONS[0]) for kind in (str(path), encoded.getvalue(), picture, array, tensor)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].text in ("yes", "no", "2") and 0 <= answers[0].score <= 1
    assert [text for text, _ in answers[0].alternatives] == [
        a for a, _ in sorted(answers[0].alternatives, key=lambda pair: -pair[1])
    ]


def close(one: Answer, other: Answer) -> bool:
    return one.text == other.text and abs(one.score - other.score) < 1e-5


def test_one_picture_with_many_questions_equals_asking_one_by_one(model, pictures):
    many = QUESTIONS * 14  # more than are encoded at once
    together = model.ask(pictures[0], many)
    alone = [model.ask(pictures[0], question) for question in QUESTIONS]
    assert len(together) == len(many)
    assert all(close(answer, alone[i % 3]) for i, answer in enumerate(together))


def test_lists_of_pictures_and_questions_go_side_by_side(model, pictures):
    together = model.ask(pictures[:3], QUESTIONS)
    assert all(close(a, model.ask(p, q)) for a, p, q in zip(together, pictures, QUESTIONS, strict=False))
    same = model.ask(pictures[:3], QUESTIONS[0])
    assert all(close(a, model.ask(p, QUESTIONS[0])) for a, p in zip(same, pictures, strict=False))
    with pytest.raises(TaskError, match="2 images and 3 texts"):
        model.ask(pictures[:2], QUESTIONS)


def test_captions(model, pictures):
    one = model.caption(pictures[0])
    many = model.caption(pictures)
    assert len(many) == 5 and many[0].text == one.text and abs(many[0].score - one.score) < 1e-5
    assert 0 <= one.score <= 1 and len(one.alternatives) == 4
    greedy = model.caption(pictures[0], beam=1)
    assert greedy.alternatives == ()
    assert model.caption(pictures[0], "a red star", beam=1).text.startswith("a red star")
    drawn = model.caption(pictures[0], samples=7, top=3)
    assert len(drawn.alternatives) == 6
    special = ("<s>", "</s>", "<pad>", "<mask>", "<unk>")
    assert not any(name in text for name in special for text, _ in (*one.alternatives, *drawn.alternatives))
    with pytest.raises(TaskError, match="shorten it"):
        model.caption(pictures[0], "red " * 100)
    with pytest.raises(ConfigError, match="beam is 0"):
        model.caption(pictures[0], beam=0)


def test_statements_about_one_picture_and_about_two(model, pictures):
    assert model.reason(pictures[0], "a circle").text in ("true", "false")
    pair = model.reason(pictures[:2], ["a circle", "two squares"])
    assert [answer.text in ("true", "false") for answer in pair] == [True, True]
    assert close(pair[1], model.reason(pictures[:2], "two squares"))
    assert not close(pair[0], model.reason(pictures[1::-1], "a circle")), "left and right are told apart"
    assert model.entails(pictures[0], "a circle").text in ("entailment", "neutral", "contradiction")
    with pytest.raises(TaskError, match="one picture or a pair, not 3"):
        model.reason(pictures[:3], "a circle")


def test_matching(model, pictures):
    texts = [*QUESTIONS, "a picture"]
    contrastive = model.match(pictures, texts, how="contrastive")
    fused = model.match(pictures, texts, how="fused")
    assert contrastive.shape == fused.shape == (5, 4)
    both, everywhere = model.match(pictures, texts, candidates=2), model.match(pictures, texts, candidates=4)
    for row in range(5):
        best = contrastive[row].topk(2).indices
        rest = [i for i in range(4) if i not in best]
        assert torch.equal(both[row, best].argsort(), everywhere[row, best].argsort()), (
            "the best are ranked by both scores"
        )
        assert both[row, best].min() > both[row, rest].max() and torch.equal(both[row, rest], contrastive[row, rest])
    with pytest.raises(TaskError, match="how is 'best'"):
        model.match(pictures, texts, how="best")


def test_embeddings_are_those_that_match_compares(model, pictures):
    images, texts = model.embed_image(pictures), model.embed_text(QUESTIONS)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(5))
    temperature = model.model.system.temperature.detach()
    torch.testing.assert_close(
        images @ texts.T / temperature, model.match(pictures, QUESTIONS, how="contrastive"), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(model.embed_image(pictures[1]), images[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.embed_text(QUESTIONS[2]), texts[2], rtol=1e-4, atol=1e-5)


def test_what_a_model_cannot_do_it_says(tmp_path, pictures):
    model = vlfuse.load(str(micro_model(tmp_path / "small", "itc")), device="cpu")
    with pytest.raises(TaskError, match=r"has no head 'vqa' \(it has: itc\)"):
        model.ask(pictures[0], QUESTIONS[0])
    with pytest.raises(TaskError, match="no matching head"):
        model.match(pictures, QUESTIONS)
    assert model.match(pictures[0], QUESTIONS, how="contrastive").shape == (1, 3)


def test_nothing_given_is_an_error(model, pictures):
    with pytest.raises(TaskError, match="no picture was given"):
        model.match([], QUESTIONS)
    with pytest.raises(TaskError, match="no text was given"):
        model.match(pictures, [])
    with pytest.raises(TaskError, match=r"must be \[3, H, W\]"):
        model.ask(torch.zeros(1, 8, 8), "a circle?")
