"""The model that comes with the package: small, and able to do what its card says."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import vlfuse
from vlfuse.checkpoints.folder import load_folder
from vlfuse.checkpoints.hub import shipped_models
from vlfuse.data.scenes import SceneDataset
from vlfuse.recipes.execute import score
from vlfuse.recipes.nano import TRAY, TRAY_SIZE, drawn
from vlfuse.recipes.scenes import scenes

NAME = "fiber-nano"


@pytest.fixture(scope="module")
def loaded():
    return load_folder(shipped_models()[NAME])


def test_it_is_small_and_whole():
    folder = shipped_models()[NAME]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16e6
    assert (folder / "model.safetensors").stat().st_size <= 12e6
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "log.jsonl", "run.json"} <= {
        file.name for file in folder.iterdir()
    }
    told = "".join((folder / name).read_text() for name in ("README.md", "run.json", "config.json"))
    assert not re.search(r'["( ]/[a-z]+/', told), "no path of the machine that made it"


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("vqa/accuracy", {"fields": "questions"}),
        ("nlvr2/accuracy", {"paired": 1}),
        ("nlvr/accuracy", {"fields": "statements"}),
        ("entailment/accuracy", {"entailment": 1, "fields": "statements"}),
        ("retrieval/two_stage_ir_r1", {"captions": 1, "fields": "captions"}),
        ("detection/AP50", {"fields": "regions"}),
        ("grounding/recall@1", {"fields": "captions+phrases"}),
        ("referring/P@1", {"fields": "expressions"}),
        ("vqa-resized/accuracy", {"fields": "questions", "size": drawn(64, own=False)}),
        ("detection-resized/AP50", {"fields": "regions", "size": drawn(64, own=False)}),
    ],
)
def test_its_card_tells_the_truth(loaded, metric, options):
    """On scenes it never saw, other than those of the card, within what so small a sample can differ by."""
    task, _, name = metric.partition("/")
    data = scenes(60, seed=77, split="test", **{"size": 64} | options)
    found = score(loaded, task.removesuffix("-resized"), data)[name]
    told = json.loads((shipped_models()[NAME] / "config.json").read_text())["notes"]["scores"][metric]
    assert found >= told - 0.08, f"{metric}: {found:.3f}, the card says {told:.3f}"


def test_it_judges_trays_as_well_as_its_card_says(loaded):
    """Shown with as many pixels as in training; their words alone tell nothing."""
    wide = replace(loaded, preprocessing=loaded.preprocessing.at(TRAY_SIZE))
    found = score(wide, "nlvr", scenes(120, seed=77, size=TRAY, split="test", trays=1, fields="statements"))["accuracy"]
    told = json.loads((shipped_models()[NAME] / "config.json").read_text())["notes"]["scores"]["nlvr-trays/accuracy"]
    assert found >= told - 0.08 and told > 0.7, f"{found:.3f}, the card says {told:.3f}"


def test_its_captions_are_as_good_as_its_card_says(loaded):
    """CIDEr-D against four captions of each scene, as a share of what a fifth reaches against the same four."""
    found = score(loaded, "caption", scenes(40, seed=77, size=64, split="test", captions=5, fields="captions"))
    told = json.loads((shipped_models()[NAME] / "config.json").read_text())["notes"]["scores"]
    share, expected = (
        scores[f"{start}others_cider_d"] / scores[f"{start}reference_cider_d"]
        for scores, start in ((found, ""), (told, "caption/"))
    )
    assert share >= expected - 0.08, f"{share:.3f}, the card says {expected:.3f}"


def test_it_answers_by_its_name():
    model = vlfuse.load(NAME)
    sample = SceneDataset(1, seed=3, split="test", size=64, fields=("regions",))[0]
    picture = Image.fromarray(np.asarray(sample.images[0]))
    answer = model.ask(picture, "how many things are there?")
    assert answer.text.isdigit()
    assert model.match([picture], ["a red circle", "a blue star"]).shape == (1, 2)
    assert model.reason([picture, picture], "both pictures show a star").text in ("true", "false")
