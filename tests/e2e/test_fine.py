"""The fine stage from the command line: coarse to fine with nothing to convert, then each task, few-shot and whole."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.e2e.test_recipes import words  # noqa: F401  (fixture)
from tests.micro import micro_model
from vlfuse.checkpoints.folder import read_config
from vlfuse.data.drawing import LEGIBLE
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


def test_boxes_are_printed_and_drawn(vlfuse, data, tmp_path):
    made = micro_model(tmp_path / "made", "grounding")
    one, two = (data / "single" / "images" / f"{i:06d}.png" for i in (0, 1))
    ask = ["--model", made, "--device", "cpu", "--image"]
    code, out, err = vlfuse("predict", "refer", *ask, one, "--text", "a red star", "--draw", "drawn.png", "--json")
    assert code == 0 and "wrote drawn.png" in err, err
    assert json.loads(out)["label"] == "a red star" and len(json.loads(out)["box"]) == 4
    drawn, plain = (np.asarray(Image.open(file).convert("RGB")) for file in (tmp_path / "drawn.png", one))
    times = -(-LEGIBLE // min(plain.shape[:2]))
    larger = plain.repeat(times, axis=0).repeat(times, axis=1)
    assert drawn.shape == larger.shape and min(drawn.shape[:2]) >= LEGIBLE and (drawn != larger).any()
    asked = ["--text", "circle", "red star", "--threshold", 0]
    code, out, err = vlfuse("predict", "detect", *ask, one, two, *asked, "--draw", "both")
    assert code == 0 and len(list((tmp_path / "both").glob("*.png"))) == 2, err
    assert f"{one}: circle at [" in out or f"{one}: red star at [" in out
    code, out, err = vlfuse("predict", "ground", *ask, one, "--text", "a red star above a circle", "--threshold", 1)
    assert code == 0 and out.splitlines() == [f"{one}: a red star -> not seen", f"{one}: a circle -> not seen"], err
    assert vlfuse("predict", "detect", *ask, one, *asked, "--draw", "folder")[0] == 2
    code, _, err = vlfuse("predict", "match", *ask, one, "--text", "a", "--draw", "x.png")
    assert code == 2 and "finds no boxes to draw" in err


@pytest.fixture
def coco(data, tmp_path):
    """The scenes of `data` as a COCO set, and pictures with nothing in them beside."""
    from vlfuse.data.readers import open_dataset

    scenes = open_dataset(str(data / "single" / "data.jsonl"))
    names = ["circle", "square", "triangle", "rectangle", "star", "cross", "never there"]
    content = {"categories": [{"id": i, "name": n} for i, n in enumerate(names)], "images": [], "annotations": []}
    for number in range(8):
        sample = scenes[number]
        content["images"].append(
            {"id": number, "file_name": sample.images[0].rpartition("/")[2], "width": 64, "height": 64}
        )
        for r in sample.regions if number else ():
            x0, y0, x1, y1 = r.box
            row = {"image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": names.index(r.label)}
            content["annotations"].append({**row, "id": len(content["annotations"]), "iscrowd": 0})
    (tmp_path / "sea").mkdir()
    (tmp_path / "sea" / "instances.json").write_text(json.dumps(content))
    return f"{tmp_path}/sea/instances.json@{data}/single/images"


def test_transfer(vlfuse, coco, data, model, tmp_path):
    """From a coarse model there is no zero-shot score; from what it became there is."""
    ask = ["--steps", 1, "--shots", 1, 0, "--out", "out"]
    code, out, err = vlfuse("transfer", "--model", model, "--data", coco, "--eval-data", coco, *ask)
    assert code == 0 and "1-shot" in out and "zero-shot" not in out, err
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["sea"].keys() == {"1-shot", "full"} and 0 <= found["sea"]["full"]["AP50"] <= 1
    other = str(data / "single" / "data.jsonl")
    sets = ["--data", coco, other, "--eval-data", coco, other, "--names", "sea", "shapes", "--image-size", 80]
    ask = ["--steps", 1, "--shots", 3, "--out", "more"]
    for _ in range(2):  # what is finished is not repeated
        code, out, err = vlfuse("transfer", "--model", "out/sea/full/model", *sets, *ask)
        assert code == 0 and "zero-shot" in out and "average" in out, err
    assert "step 1/1" not in out
    assert json.loads((tmp_path / "more" / "metrics.json").read_text())["average"].keys() == {"zero-shot", "3-shot"}
    assert read_config("more/sea/3-shot/model").preprocessing.size == 80
    code, _, err = vlfuse("transfer", "--model", model, "--data", coco, "--eval-data", coco, other)
    assert code == 2 and "one of each" in err
