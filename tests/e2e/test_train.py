"""`vlfuse train`: every recipe for a few steps, going on, from a model, over bad data, in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vlfuse as package
from tests.micro import FLAGS, micro_model
from vlfuse.checkpoints.folder import read_config
from vlfuse.engine.run import load_run
from vlfuse.recipes.sizes import size_of

REPOSITORY = Path(__file__).parents[2]
SMALL = ["--sources.0.batch-size", 4, "--device", "cpu"]
DATA = {"nlvr2": "pairs", "entailment": "entailment"}
HEADS = {"fiber-coarse": {"mlm", "itc", "itm"}, "retrieval": {"itc", "itm"}}


@pytest.mark.parametrize("recipe", ["fiber-coarse", "vqa", "nlvr2", "nlvr", "entailment", "retrieval", "caption"])
def test_every_recipe_trains_evaluates_and_releases(recipe, vlfuse, data, tmp_path):
    file = data / DATA.get(recipe, "single") / "data.jsonl"
    code, out, err = vlfuse("train", recipe, "--data", file, "--eval-data", file, "--steps", 2, *SMALL, *FLAGS)
    assert code == 0, err
    folder = tmp_path / "runs" / recipe
    assert set(read_config(folder / "model").heads) == HEADS.get(recipe, {recipe})
    scores = json.loads((folder / "metrics.json").read_text())
    assert scores["step"] == 2 and len(scores) > 3
    assert f"--data {file}" in (folder / "model" / "README.md").read_text(), "the card tells the command"
    assert "the model is in" in out
    package.load(str(folder / "model"))


def test_captions_learn_in_three_stages(vlfuse, data, tmp_path):
    """From a pre-trained model's word head; a resumed run of each kind goes on."""
    file = data / "single" / "data.jsonl"
    start = micro_model(tmp_path / "start")
    train = ["train", "caption", "--data", file, "--steps", 2, "--log-every", 1, *SMALL]
    for learn in ("mle", "gold", "cider"):
        code, _, err = vlfuse(*train, "--init", start, "--learn", learn, "--out", learn, "--save-every", 1)
        assert code == 0, err
        rows = [json.loads(line) for line in (tmp_path / learn / "log.jsonl").read_text().splitlines()]
        assert ("caption/reward" in rows[0]) == (learn == "cider")
        start = tmp_path / learn / "model"
    assert read_config(start).heads["caption"].keys() == {"start", "end", "pad", "never"}, "how it learnt stays behind"
    assert package.load(str(start)).caption(str(data / "single" / "images" / "000000.png")).score >= 0
    code, _, err = vlfuse(*train, "--learn", "mle", "--frequencies", "x.json", "--out", "no", *FLAGS)
    assert code == 2 and "belongs to cider" in err
    code, _, err = vlfuse(*train, "--learn", "cider", "--frequencies", "x.json", "--out", "no", *FLAGS)
    assert code == 2 and "x.json cannot be read" in err


def test_the_recipe_that_learns_everything(vlfuse, tmp_path):
    kinds = {
        "sources": ("", "", "", "", "", ",paired=1", "", "", ",entailment=1"),
        "evaluations": ("", ",paired=1", "", ",entailment=1", ""),
    }
    changes = [
        x
        for part, options in kinds.items()
        for i, option in enumerate(options)
        for x in (f"--{part}.{i}.data", f"scenes:4,size=64{option}", f"--{part}.{i}.batch-size", 2)
    ]
    changes += [x for i in (0, 1, 3) for x in (f"--sources.{i}.last", 3)]
    changes += [x for i in range(1, 9) for x in (f"--sources.{i}.first", 1 + (i == 4))]
    code, _, err = vlfuse("train", "fiber-nano", "--steps", 3, "--device", "cpu", *changes, *FLAGS)
    assert code == 0, err
    heads = {"tagging", "pointing", "spotting", "mlm", "itc", "itm", "vqa", "nlvr2", "nlvr", "entailment"}
    assert set(read_config(tmp_path / "runs/fiber-nano/model").heads) == heads


def test_a_run_goes_on_and_is_not_written_over(vlfuse, data, tmp_path):
    file = data / "single" / "data.jsonl"
    command = ["train", "vqa", "--data", file, "--steps", 2, "--log-every", 1, *SMALL, *FLAGS]
    assert vlfuse(*command)[0] == 0
    code, _, err = vlfuse(*command)
    assert code == 2 and "runs/vqa holds a run already; go on with --resume" in err
    log = (tmp_path / "runs/vqa/log.jsonl").read_text()
    assert vlfuse(*command, "--resume")[0] == 0
    assert (tmp_path / "runs/vqa/log.jsonl").read_text() == log, "nothing was left to do"
    code, _, err = vlfuse(*command, "--resume", "--optim.lr", "1e-5")
    assert code == 2 and "cannot resume runs/vqa with another configuration (optim:" in err
    for name in ("run.json", "log.jsonl"):  # checkpoints alone do not say what they are of
        (tmp_path / "runs/vqa" / name).unlink()
    for flags, mend in ((["--resume"], "give another --out"), ([], "go on with --resume")):
        code, _, err = vlfuse(*command, *flags)
        assert code == 2 and "runs/vqa holds a run already" in err and mend in err


def test_a_task_learnt_on_top_of_a_model(vlfuse, data, model, tmp_path):
    file = data / "single" / "data.jsonl"
    code, _, err = vlfuse("train", "nlvr", "--data", file, "--init", model, "--steps", 1, "--out", "on", *SMALL)
    assert code == 0, err
    run = load_run(tmp_path / "on")
    assert (run.init, run.system, run.optim.lr) == (str(model), "", size_of("nano").finetune_lr)
    assert read_config(tmp_path / "on/model").config == read_config(model).config


def test_answers_can_be_given(vlfuse, data, tmp_path):
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    command = ["train", "vqa", "--data", data / "single" / "data.jsonl", "--steps", 1, *SMALL, *FLAGS]
    assert vlfuse(*command, "--answers", "answers.txt")[0] == 0
    assert read_config(tmp_path / "runs/vqa/model").heads["vqa"]["answers"] == ["yes", "no"]


def test_a_bad_record_is_named_and_the_run_goes_on(vlfuse, data, tmp_path):
    lines = (data / "single" / "data.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record["image"] = str(data / "single" / record["image"])
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join([*map(json.dumps, records), '{"id": "x", "image": "gone.png", "questions": []}', "{"]))
    command = ["train", "vqa", "--data", bad, "--steps", 3, "--answers", "answers.txt", *SMALL, *FLAGS]
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    code, out, err = vlfuse(*command)
    assert code == 0, err
    assert "2 unusable samples were replaced by others: 1 missing image, 1 record" in out
    code, _, err = vlfuse(*command, "--out", "strict", "--strict")
    assert code == 2 and f"{bad}:" in err and "Traceback" not in err
    code, out, _ = vlfuse("data", "check", bad)
    assert code == 1 and f"{bad}:9" in out and f"{bad}:10" in out and "8 of 10 samples are usable" in out


def test_two_processes(data, tmp_path):
    """As torchrun starts them: one run folder, written once."""
    port = 20_000 + os.getpid() % 20_000
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, "-m", "vlfuse.cli", "train", "nlvr", "--data", str(data / "single" / "data.jsonl")]
    command += ["--steps", "2", *map(str, SMALL), *FLAGS]
    started = [
        subprocess.Popen(
            command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    ends = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ends
    assert (tmp_path / "runs/nlvr/model/model.safetensors").is_file()
    assert "the model is in" in ends[0][0] and "step 2/2" in ends[0][0]
    assert "step 2/2" not in ends[1][0], "one process reports"
