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


def test_ask(run, data, model):
    out = run("ask.py", model, picture(data, 0), "is there a star?", "how many circles?")
    assert len(out.splitlines()) == 2 and out.startswith("is there a star? ") and "otherwise" in out


def test_search_folder(run, data, model):
    lines = run("search_folder.py", model, data / "single", "a large red circle").splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert len(lines) == 5 and scores == sorted(scores, reverse=True) and ".png" in lines[0]


def test_finetune_vqa(run, data, model, tmp_path):
    file = data / "single" / "data.jsonl"
    out = run("finetune_vqa.py", model, file, file, tmp_path / "run", 1)
    assert "always the most frequent answer" in out and "vlfuse predict vqa" in out


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
