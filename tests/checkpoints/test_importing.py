"""From a foreign file to a model that answers, and what a name leads to."""

from pathlib import Path

import pytest
import torch

import vlfuse
from tests.checkpoints.test_fiber_coarse import tiny
from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints import hub
from vlfuse.checkpoints.fiber_coarse import to_fiber_coarse
from vlfuse.checkpoints.folder import Preprocessing, load_folder, save_folder
from vlfuse.checkpoints.importing import import_file
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.layers.mlp import init_normal
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.tasks import TASKS
from vlfuse.types import CheckpointError, ConfigError, DataError

SWIN = SwinConfig(8, (1, 1, 2, 2), (1, 2, 2, 4), 2)


@pytest.fixture
def words():
    return Tokenizer.load("scenes")


@pytest.fixture
def checkpoint(tmp_path, words) -> Path:
    """A narrow FIBER for the shipped vocabulary (one attention head of the published width) in a training file."""
    text = TextConfig(words.vocab_size, 64, 3, 1, 64, 54)
    system = Fiber(FiberConfig(SWIN, text, fuse_last=2, width=12))
    model = Model(system, {"itc": OBJECTIVES["itc"](system), "vqa": TASKS["vqa"](system, ("red", "blue"))})
    model.apply(init_normal)
    torch.save(
        {"epoch": 1, "callbacks": {torch.nn.Module: 1}, "state_dict": to_fiber_coarse(model)}, tmp_path / "fiber.ckpt"
    )
    return tmp_path / "fiber.ckpt"


@pytest.fixture
def offline(monkeypatch):
    def fail(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    monkeypatch.setattr("vlfuse.data.tokenizer.snapshot_download", fail)


def test_an_imported_file_answers(tmp_path, checkpoint, words):
    words.save(tmp_path / "words")
    (tmp_path / "answers.txt").write_text("rot\nblau\n")
    report = import_file(
        checkpoint, "fiber-coarse", tmp_path / "out", answers=tmp_path / "answers.txt", resolution=96, tokenizer=str(tmp_path / "words")
    )  # fmt: skip
    assert report.notes == ["bias tables resized from window 2 to 3 (bicubic); fine-tune before use at the new size"]
    loaded = load_folder(tmp_path / "out")
    assert loaded.preprocessing == Preprocessing(size=96, max_text=50)
    assert loaded.config.notes["imported"]["file"] == "fiber.ckpt"
    model = vlfuse.load(str(tmp_path / "out"))
    answer = model.ask(torch.rand(3, 40, 50), "what colour is it?")
    assert answer.text in ("rot", "blau")
    assert "window 2 to 3" in (tmp_path / "out" / "README.md").read_text()


def test_without_a_network_the_report_says_what_is_left_to_do(tmp_path, checkpoint, offline):
    report = import_file(checkpoint, "fiber-coarse", tmp_path / "out")
    assert any("no tokenizer.json was written" in note and "roberta-base" in note for note in report.notes)
    assert any("'label 0' to 'label 1'" in note for note in report.notes)
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        vlfuse.load(str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="nowhere"):
        import_file(checkpoint, "fiber-coarse", tmp_path / "out", tokenizer="nowhere")


def test_bad_requests(tmp_path, checkpoint):
    with pytest.raises(ConfigError, match="did you mean 'fiber-coarse'"):
        import_file(checkpoint, "fiber-corse", tmp_path / "out")
    (tmp_path / "answers.txt").write_text("yes\n\nno\n")
    with pytest.raises(DataError, match=r"answers\.txt:2: an empty line"):
        import_file(checkpoint, "fiber-coarse", tmp_path / "out", answers=tmp_path / "answers.txt")
    other = to_fiber_coarse(tiny("itc")) | {"more": torch.zeros(1)}
    torch.save(other, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"1 keys have no place.*more"):
        import_file(tmp_path / "odd.pth", "fiber-coarse", tmp_path / "out", text_heads=3)
    assert not (tmp_path / "out").exists()


def test_names_of_models(tmp_path, monkeypatch, offline):
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "weights")
    save_folder(tmp_path / "weights" / "small", tiny("itc"), None, Preprocessing(64, 10))
    assert vlfuse.list_models() == ["small"]
    assert hub.resolve_model("small") == tmp_path / "weights" / "small"
    assert hub.resolve_model(str(tmp_path)) == tmp_path
    (tmp_path / "a.ckpt").touch()
    for name, words in (
        ("smal", "no model 'smal'.*shipped models: small"),
        (str(tmp_path / "none"), "there is no model"),
        ("owner/name", "ConnectionError: no route.*Without a network"),
        (str(tmp_path / "a.ckpt"), "vlfuse import"),
    ):
        with pytest.raises(CheckpointError, match=words):
            vlfuse.load(name)
