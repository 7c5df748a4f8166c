"""The other commands: data, eval, predict, models, import, new, and how errors are told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.checkpoints.test_importing import checkpoint, words  # noqa: F401  (fixtures)
from vlfuse.checkpoints.folder import read_config
from vlfuse.cli import COMMANDS
from vlfuse.types import CheckpointError

REPOSITORY = Path(__file__).parents[2]


def test_help_is_quick_and_complete():
    """Without torch, which takes a second to import."""
    program = "import sys; from vlfuse.cli import main; code = main(['--help']); print('torch' in sys.modules); sys.exit(code)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.endswith("False\n"), done.stderr
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_a_reader_that_stops_is_no_error():
    """As in `vlfuse models | head -1`."""
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "vlfuse.cli", "models"], stdout=write, stderr=subprocess.PIPE, env=environment
    )
    os.close(write)
    assert done.returncode == 1 and not done.stderr, done.stderr


@pytest.mark.parametrize("command", [*COMMANDS, "train vqa", "data check", "data convert"])
def test_every_command_explains_itself(command, vlfuse):
    code, out, err = vlfuse(*command.split(), "--help")
    assert code == 0, err
    assert f"vlfuse {command}" in out


def test_scenes_are_written_checked_counted_and_drawn(vlfuse, tmp_path):
    code, out, _ = vlfuse("data", "scenes", "--n", 3, "--size", 64, "--out", "scenes")
    assert code == 0 and "scenes/data.jsonl" in out
    code, out, _ = vlfuse("data", "check", "scenes/data.jsonl", "--tokenizer", "scenes", "--max-text", 5)
    assert code == 0 and "3 of 3 samples are usable" in out and "longer than 5 tokens" in out
    code, out, _ = vlfuse("data", "check", "scenes/data.jsonl", "--model", "fiber-nano")
    assert code == 0 and "3 of 3 samples are usable" in out
    code, _, err = vlfuse("data", "check", "scenes/data.jsonl", "--model", "fiber-nano", "--tokenizer", "scenes")
    assert code == 2 and "leave --tokenizer out" in err
    code, out, _ = vlfuse("data", "stats", "scenes/data.jsonl")
    assert code == 0 and "3 samples" in out and "questions" in out
    assert vlfuse("data", "draw", "scenes/data.jsonl", "--number", 2, "--out", "sheet.png")[0] == 0
    assert Image.open(tmp_path / "sheet.png").width > 300
    code, _, err = vlfuse("data", "scenes", "--n", 3, "--out", "scenes")
    assert code == 2 and "exists" in err


def test_convert(vlfuse, tmp_path):
    source = tmp_path / "rad"
    (source / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(source / "images" / "a.jpg")
    row = {"image": "a.jpg", "question": "is it?", "answer": "Yes", "question_id": 1}
    (source / "train.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "image": "b.jpg"}) + "\n")
    code, out, _ = vlfuse("data", "convert", "vqa-rad", source, "--out", "out")
    assert code == 0 and "1 of 2 rows kept" in out and "1 dropped: picture is missing" in out
    assert vlfuse("data", "check", "out/train.jsonl")[0] == 0
    code, _, err = vlfuse("data", "convert", "vqarad", source, "--out", "out")
    assert code == 2 and "format 'vqarad' is unknown; did you mean 'vqa-rad'?" in err


@pytest.mark.parametrize(
    ("task", "kind", "score"),
    [
        ("vqa", "single", "accuracy"),
        ("nlvr", "single", "accuracy"),
        ("nlvr2", "pairs", "accuracy"),
        ("entailment", "entailment", "accuracy"),
        ("caption", "single", "bleu1"),
        ("retrieval", "single", "two_stage_ir_r1"),
    ],
)
def test_eval(task, kind, score, vlfuse, data, model, tmp_path):
    code, out, err = vlfuse("eval", task, "--model", model, "--data", data / kind / "data.jsonl", "--device", "cpu")
    assert code == 0, err
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= written[score] <= 1 and written["task"] == task
    assert f"{100 * written[score]:.1f}" in out
    assert ("most frequent answer" in out) == (task not in ("retrieval", "caption")) and ("by chance" in out) == (
        task == "retrieval"
    )


def test_candidates(vlfuse, data, model, tmp_path):
    """Of one candidate there is nothing to re-rank; more than there are is all."""
    ask = ["eval", "retrieval", "--model", model, "--data", data / "single" / "data.jsonl", "--device", "cpu"]
    scores = {}
    for number in (1, 100):
        assert vlfuse(*ask, "--candidates", number)[0] == 0
        scores[number] = json.loads((tmp_path / "metrics.json").read_text())
    assert all(scores[1][f"{how}_ir_r1"] == scores[1]["itc_ir_r1"] for how in ("two_stage", "matched"))
    assert scores[100]["matched_ir_r10"] == 1
    assert vlfuse(*ask, "--candidates", 0)[0] == 2
    code, _, err = vlfuse("eval", "vqa", "--model", model, "--data", "any.jsonl", "--candidates", 8)
    assert code == 2 and "vqa re-ranks nothing" in err


def test_folds(vlfuse, data, model, tmp_path):
    """In parts of fewer pictures the right one is found more often."""
    ask = ["eval", "retrieval", "--model", model, "--data", data / "single" / "data.jsonl", "--device", "cpu"]
    scores = {}
    for number in (1, 4):
        code, out, err = vlfuse(*ask, "--folds", number)
        assert code == 0, err
        assert ("mean of 4 parts" in out) == (number == 4)
        scores[number] = json.loads((tmp_path / "metrics.json").read_text())
    assert scores[4]["chance_ir_r1"] == pytest.approx(4 * scores[1]["chance_ir_r1"])
    assert scores[4]["itc_ir_r1"] >= scores[1]["itc_ir_r1"] and scores[4]["images"] == scores[1]["images"]
    code, _, err = vlfuse(*ask, "--folds", 7)
    assert code == 2 and "folds is 7" in err
    code, _, err = vlfuse("eval", "vqa", "--model", model, "--data", "any.jsonl", "--folds", 5)
    assert code == 2 and "--folds 5 would be ignored" in err


def test_submission(vlfuse, data, model, tmp_path):
    file = data / "single" / "data.jsonl"
    code, out, err = vlfuse("eval", "vqa", "--model", model, "--data", file, "--submission", "--device", "cpu")
    assert code == 0 and "wrote submission.json" in out, err
    rows = json.loads((tmp_path / "submission.json").read_text())
    assert len(rows) == 48 and rows[0].keys() == {"question_id", "answer"}
    assert vlfuse("eval", "nlvr", "--model", model, "--data", file, "--submission")[0] == 2


def test_predict(vlfuse, data, model):
    one, two = (data / "single" / "images" / f"{i:06d}.png" for i in (0, 1))
    ask = ["--model", model, "--image", one, two, "--text", "how many circles?", "a red star", "--json"]
    for task, number in {"vqa": 4, "entailment": 4, "reason": 2, "match": 4, "embed": 4}.items():
        code, out, err = vlfuse("predict", task, *ask)
        assert code == 0, err
        rows = [json.loads(line) for line in out.splitlines()]
        assert len(rows) == number, task
    assert len(rows[0]["vector"]) == 16 and rows[3]["text"] == "a red star"
    code, out, _ = vlfuse("predict", "vqa", "--model", model, "--image", one, "--text", "how many circles?")
    assert code == 0 and out.startswith(f"{one}: how many circles? -> ") and out.rstrip().endswith("%)")
    caption = ["predict", "caption", "--model", model, "--image", one, two]
    code, out, err = vlfuse(*caption, "--text", "a red", "--samples", 3, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(rows) == 2, err
    assert all(row["caption"].startswith("a red") and len(row["alternatives"]) == 2 for row in rows)
    assert vlfuse(*caption)[1].startswith(f"{one}: ")
    code, _, err = vlfuse("predict", "caption", "--model", model)
    assert code == 2 and "needs --image FILE" in err
    code, _, err = vlfuse("predict", "vqa", "--model", model, "--image", one)
    assert code == 2 and "needs --image FILE and --text TEXT" in err
    code, _, err = vlfuse("predict", "vqa", "--model", model, "--image", "gone.png", "--text", "what?")
    assert code == 2 and "gone.png" in err


def test_models_are_listed_where_runs_left_them(vlfuse, model, tmp_path):
    code, out, _ = vlfuse("models", model)
    assert code == 0 and "nlvr2" in out and "64 px" in out
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model").symlink_to(model)
    assert "runs/mine/model" in vlfuse("models")[1]


def test_import(vlfuse, checkpoint, words, tmp_path):  # noqa: F811
    words.save(tmp_path / "words")
    code, out, err = vlfuse("import", checkpoint, "--tokenizer", "words", "--out", "model")
    assert code == 0, err
    assert "mapped" in out and "wrote model" in out
    assert set(read_config(tmp_path / "model").heads) == {"itc", "vqa"}
    weights = torch.load(checkpoint, weights_only=False)
    weights["state_dict"]["surprise"] = torch.zeros(1)
    torch.save(weights, checkpoint)
    code, _, err = vlfuse("import", checkpoint, "--tokenizer", "words", "--out", "other")
    assert code == 2 and "surprise" in err and not (tmp_path / "other").exists()


def test_new(vlfuse, data, tmp_path):
    code, out, err = vlfuse("new", "--size", "nano", "--out", "fresh")
    assert code == 0 and "wrote fresh" in out, err
    assert read_config(tmp_path / "fresh").heads == {}


def test_errors_are_one_message(vlfuse, data, model, monkeypatch):
    file = data / "single" / "data.jsonl"
    for arguments, message in (
        (["dance"], "there is no command 'dance'"),
        (["train", "vqq"], "recipe 'vqq' is unknown; did you mean 'vqa'?"),
        (["train", "vqa", "--data", "gone.jsonl"], "gone.jsonl"),
        (["train", "vqa", "--data", file, "--size", "base"], "roberta-base"),
        (["train", "fiber-coarse", "--size", "base"], "no data of its own"),
        (
            ["train", "vqa", "--init", model, "--data", file, "--eval-data", data / "pairs" / "data.jsonl"],
            "pairs/data.jsonl has no questions with answers, by which vqa is scored",
        ),
        (["train", "vqa", "--data", file, "--optim.lr", "-1"], "optim.lr is -1.0; it must be above 0"),
        (["eval", "vqa", "--model", "gone", "--data", file], "there is no model 'gone'"),
        (["eval", "nlvr2", "--model", model, "--data", file], "2 picture(s)"),
    ):
        code, _, err = vlfuse(*arguments)
        assert code == 2 and message in err and "Traceback" not in err, (arguments, err)
    assert vlfuse("train", "vqa", "--data", file, "--no-such-field", "1")[0] == 2
    with pytest.raises(CheckpointError):
        vlfuse("eval", "vqa", "--model", "gone", "--data", file, "--traceback")
    monkeypatch.setenv("VLFUSE_TRACEBACK", "1")
    with pytest.raises(CheckpointError):
        vlfuse("eval", "vqa", "--model", "gone", "--data", file)
