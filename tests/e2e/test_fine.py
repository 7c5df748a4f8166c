"""The fine stage from the command line: coarse to fine with nothing to convert, then each task, few-shot and whole."""

import json

import pytest

from tests.e2e.test_recipes import words  # noqa: F401  (fixture)
from vlfuse.checkpoints.folder import read_config
from vlfuse.engine.run import load_run
from vlfuse.recipes import RECIPES
from vlfuse.recipes.asked import Asked
from vlfuse.types import ConfigError, DataError


def test_from_coarse_to_fine_to_every_task(vlfuse, data, model, tmp_path):
    """`model` knows the tasks of the coarse stage alone."""
    file = data / "single" / "data.jsonl"
    ask = ["--data", file, "--eval-data", file]
    code, out, err = vlfuse(
        "train", "fiber-fine", "--init", model, *ask, "--steps", 2, "--out", "fine", "--sources.0.batch-size", 4,
        "--sources.1.batch-size", 4, "--sources.2.batch-size", 4, "--average", 0.5, "--sources.0.boxes.flip", 0.25,
    )  # fmt: skip
    assert code == 0, err
    assert read_config("fine/model").heads["grounding"]["width"] == 64
    assert [s.boxes.reads for s in load_run("fine").sources] == ["regions", "phrases", "expressions"]
    scores = json.loads((tmp_path / "fine" / "metrics.json").read_text())
    assert {"detection/AP50", "grounding/recall@1", "referring/P@1"} <= scores.keys()
    for task in ("grounding", "referring"):
        code, _, err = vlfuse("train", task, "--init", "fine/model", *ask, "--steps", 1, "--out", task)
        assert code == 0, err
    code, _, err = vlfuse("train", "detection", "--init", "fine/model", *ask, "--shots", 1, "--steps", 1)
    assert code == 0, err
    for task, score in {"detection": "AP50", "grounding": "recall@1", "referring": "giou_P@1"}.items():
        trained = f"{task if task != 'detection' else 'runs/detection'}/model"
        code, out, err = vlfuse("eval", task, "--model", trained, "--data", file, "--device", "cpu")
        assert code == 0 and score in out, err
        assert json.loads((tmp_path / "metrics.json").read_text())["count"] >= 8
    code, _, err = vlfuse("eval", "detection", "--model", model, "--data", file, "--device", "cpu")
    assert code == 2 and "no head 'grounding'" in err


def test_the_stage_is_as_published(words, data):  # noqa: F811
    """Source: the published configurations of fine pre-training, COCO, RefCOCO and few-shot sets."""
    file = str(data / "single" / "data.jsonl")
    run = RECIPES["fiber-fine"](Asked(data=file, size="base"))
    optim = run.optim
    assert (run.steps, run.image_size, run.max_text, run.average) == (800_000, 800, 256, 0.999)
    assert (optim.lr, optim.head_multiplier, optim.image_multiplier, optim.weight_decay) == (1e-5, 10.0, 10.0, 0.01)
    assert (optim.schedule, optim.warmup, optim.clip_norm, optim.betas) == ("steps", 2000, 1.0, (0.9, 0.999))
    assert optim.doubled_biases and optim.decay_drops and len(optim.frozen) == 2
    assert run.heads == {"grounding": {"drop_block": 0.3}}
    assert all(s.boxes.scales == (480, 560, 640, 720, 800) and s.boxes.longest == 1333 for s in run.sources)
    tuned = RECIPES["referring"](Asked(data=file, size="base"))
    assert (tuned.optim.lr, tuned.optim.head_multiplier, tuned.optim.weight_decay, tuned.optim.clip_norm) == (
        1e-5,
        1.0,
        1e-4,
        None,
    )
    assert tuned.sources[0].boxes.flip == 0.0 and not tuned.optim.frozen
    few = RECIPES["detection"](Asked(data=file, size="base"), shots=1)
    assert (few.optim.weight_decay, few.optim.warmup, few.sources[0].boxes.shots) == (0.05, 0, 1)


def test_generated_scenes_teach_a_small_model(data):
    run = RECIPES["fiber-fine"](Asked())
    assert {s.boxes.reads for s in run.sources} == {"phrases", "expressions", "regions"}
    assert {e.name for e in run.evaluations} >= {"detection", "detection-novel", "referring-novel"}
    assert run.heads["grounding"]["levels"] == 3 and run.image_size == 64


def test_data_without_boxes_are_refused(tmp_path, data):
    (tmp_path / "bare.jsonl").write_text('{"image": "a.png", "captions": ["a"]}\n')
    bare = str(tmp_path / "bare.jsonl")
    with pytest.raises(DataError, match="have no regions, phrases, expressions"):
        RECIPES["fiber-fine"](Asked(data=bare))
    (tmp_path / "boxes.jsonl").write_text('{"image": "a.png", "regions": [{"box": [1, 1, 2, 2], "label": "a"}]}\n')
    with pytest.raises(DataError, match="have no phrases; grounding learns from them"):
        RECIPES["grounding"](Asked(data=str(tmp_path / "boxes.jsonl")))
    with pytest.raises(ConfigError, match="no data of its own"):
        RECIPES["detection"](Asked(size="tiny"))
