"""`vlfuse demo` with next to no training: every stage, the page, and what happens when it is run again."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.micro import micro_size
from vlfuse.data.scenes.balance import measure
from vlfuse.processes import run_in
from vlfuse.recipes import demo, demo_page
from vlfuse.types import ConfigError


def shorten(monkeypatch) -> None:
    monkeypatch.setattr(demo, "HELD_OUT", 6)
    monkeypatch.setattr(demo, "GALLERY", 6)
    monkeypatch.setattr(demo, "measure", partial(measure, train=30, test=10))
    for name, number in (("QUESTIONS", 2), ("SEARCHED", 6), ("QUERIES", 2), ("PAIRS", 2), ("BOXED", 1)):
        monkeypatch.setattr(demo_page, name, number)


@pytest.fixture
def short(monkeypatch):
    shorten(monkeypatch)


def short_demo(arguments) -> int:
    """In a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        demo.demo(Path(arguments[0]), minutes=1e-9, size=micro_size())
    return 0


def test_two_processes_make_one_demo(tmp_path):
    assert run_in(2, short_demo, [str(tmp_path)]) == 0
    results = json.loads((tmp_path / "metrics.json").read_text())
    assert all(row["shipped"] is not None for row in results["rows"]) and (tmp_path / "report.html").is_file()


def test_the_demo_trains_measures_and_reports(short, tmp_path, capsys):
    page = demo.demo(tmp_path / "demo", minutes=1e-9, size=micro_size())
    results = json.loads((tmp_path / "demo/metrics.json").read_text())
    assert [row["task"] for row in results["rows"]][:2] == ["Questions", "Pairs"]
    assert len(results["rows"]) == 2 + 4 + 4
    for row in results["rows"]:
        assert 0 <= row["reached"] <= 1 and (row["chance"] is None or 0 < row["chance"] <= 1)
    assert results["rows"][0]["text_only"] is not None
    html = page.read_text()
    assert (
        html.count("data:image/png") >= 2 + 2 * 5 + 2 * 2 + 2
        and "<svg" in html
        and "http" not in html.split("<style>")[0]
    )
    again = demo.demo(tmp_path / "demo", minutes=1e-9, size=micro_size())
    assert again == page and capsys.readouterr().out.count("done already") == len(demo.stages(tmp_path))
    with pytest.raises(ConfigError, match="cannot resume"):
        demo.demo(tmp_path / "demo", minutes=0.5, size=micro_size())


def test_stages_follow_each_other_and_scale(tmp_path):
    runs, longer = demo.stages(tmp_path), demo.stages(tmp_path, minutes=2 * demo.MINUTES)
    assert [run.init for run in runs] == ["", *[f"{runs[0].out}/model"] * 2]
    assert [run.steps for run in longer] == [2 * run.steps for run in runs]
    trained = {head for source in runs[1].sources for head in source.heads}
    assert {"vqa", "nlvr2", "itc", "itm"} <= trained, "one model answers and searches"
