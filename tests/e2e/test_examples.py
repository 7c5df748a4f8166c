"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

from tests.micro import micro_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(capsys):
    """Run an example in this process; returns what it printed."""

    def call(name: str, *arguments: object) -> str:
        runpy.run_path(str(EXAMPLES / name))["main"](*map(str, arguments))
        return capsys.readouterr().out

    return call


def picture(data: Path, number: int) -> Path:
    return data / "single" / "images" / f"{number:06d}.png"


def test_zero_shot(run, data, model):
    lines = run("zero_shot.py", model, data / "single", "a star", "a circle").splitlines()
    assert len(lines) == 8 and all(": a star (" in line or ": a circle (" in line for line in lines)


def test_search_folder(run, data, model):
    lines = run("search_folder.py", model, data / "single", "a large red circle").splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert len(lines) == 5 and scores == sorted(scores, reverse=True) and ".png" in lines[0]


def test_finetune_vqa(run, data, model, tmp_path):
    file = data / "single" / "data.jsonl"
    out = run("finetune_vqa.py", model, file, file, tmp_path / "run", 1)
    assert "always the most frequent answer" in out and "vlfuse predict vqa" in out


def test_finetune_captions(run, data, model, tmp_path):
    file = data / "single" / "data.jsonl"
    out = run("finetune_captions.py", model, file, file, tmp_path / "run", 1)
    assert "CIDEr-D" in out and out.count("(yours: ") == 4


def test_finetune_retrieval(run, data, model, tmp_path):
    file = data / "single" / "data.jsonl"
    out = run("finetune_retrieval.py", model, file, file, tmp_path / "run", 1)
    assert "by chance 12.5%" in out and "search_folder.py" in out


def test_finetune_boxes(run, data, model, tmp_path):
    """From a model that has never seen a box."""
    file = data / "single" / "data.jsonl"
    out = run("finetune_boxes.py", model, file, file, tmp_path / "run", 1)
    assert "AP50" in out and (tmp_path / "run" / "found.png").is_file()


def test_judge_pairs(run, data, model):
    out = run("judge_pairs.py", model, picture(data, 0), picture(data, 1), "both show a star", "a circle is left")
    assert [line.split()[0] in ("true", "false") for line in out.splitlines()] == [True, True]
    assert len(run("judge_pairs.py", model, picture(data, 0), "a star").splitlines()) == 1


def test_find_things(run, data, tmp_path):
    made = micro_model(tmp_path / "made", "grounding")
    out = run("find_things.py", made, data / "single", tmp_path / "found", "circle", "red star")
    assert len(out.splitlines()) == 8 == len(list((tmp_path / "found").glob("*.png")))


def test_every_example_is_short_and_tested():
    here = Path(__file__).read_text()
    for example in EXAMPLES.glob("*.py"):
        assert example.name in here and example.read_text().count("\n") < 60, example.name
