"""The recipes of the shipped weights: one model learns every task, keeps what it knew, and is used for all of them."""

from dataclasses import replace

import pytest

import vlfuse
from vlfuse.data.scenes import SceneDataset
from vlfuse.engine.evaluate import EVALUATIONS
from vlfuse.recipes import RECIPES
from vlfuse.recipes.execute import execute


@pytest.mark.parametrize("recipe", ["fiber-nano-fine", "fiber-nano-more", "fiber-nano-last"])
def test_one_model_does_every_task(recipe, tmp_path):
    run = RECIPES[recipe](out=str(tmp_path / "run"), steps=8, init="fiber-nano")
    assert {evaluation.task for evaluation in run.evaluations} == set(EVALUATIONS)
    # All sources within the few steps: what begins late begins with the fifth, what ends early ends there.
    small = tuple(replace(s, batch_size=3, first=min(s.first, 4), last=min(s.last, 4)) for s in run.sources)
    folder = execute(replace(run, sources=small, evaluations=()))
    model = vlfuse.load(str(folder))
    first, second = (SceneDataset(2, split="test", size=64)[i].images[0] for i in range(2))
    asked = ["how many circles are there?", "is there a star?"]
    before = vlfuse.load("fiber-nano").ask(first, asked)
    assert [answer.text for answer in model.ask(first, asked)] == [answer.text for answer in before], (
        "8 steps forget nothing"
    )
    assert model.reason([first, second], "both pictures show a star").text in ("true", "false")
    assert model.entails(first, ["there is a star"])[0].text in ("entailment", "neutral", "contradiction")
    assert model.match([first, second], asked).shape == (2, 2)
    assert model.caption(first).text
    assert model.detect(first, ["star", "circle"], threshold=0.0)
    assert [one.phrase for one in model.ground(first, "a star above a circle", ["a star", "a circle"])] == [
        "a star",
        "a circle",
    ]
    assert model.refer(first, "the star").label == "the star"
