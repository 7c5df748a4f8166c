"""Checkpoints: exact, whole or absent, and never trusted unseen."""

import logging
import shutil

import pytest
import torch

from tests.engine.stub import StubLoader, stub_model, stub_run
from vlfuse.engine import checkpoint
from vlfuse.engine.checkpoint import Progress
from vlfuse.engine.distributed import World
from vlfuse.engine.optimiser import build_optimiser
from vlfuse.engine.run import Optim
from vlfuse.engine.step import Stream, Update
from vlfuse.types import CheckpointError


def trained(tmp_path, published=False):
    """A model and its optimiser after an update; one head has never had a gradient."""
    model, run = stub_model(), stub_run(tmp_path)
    optimiser = build_optimiser(model, Optim(lr=1e-2))
    Update(run, World(), model, optimiser, torch.amp.GradScaler("cpu", enabled=False), [Stream(StubLoader())])(0)
    return model, optimiser


def test_what_is_saved_comes_back(tmp_path):
    model, optimiser = trained(tmp_path)
    path = checkpoint.save(tmp_path, model, optimiser, Progress(7, best=0.5, best_step=5))
    other = stub_model(seed=1)
    restored = build_optimiser(other, Optim(lr=1e-2))
    assert checkpoint.load(path, other, restored) == Progress(7, best=0.5, best_step=5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    mine, theirs = (checkpoint.optimiser_tensors(m, o) for m, o in ((model, optimiser), (other, restored)))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert not any("spare" in key for key in mine), "what was never trained has no moments"


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.OPTIMISER, checkpoint.STATE])
@pytest.mark.parametrize("how", ["torn", "altered", "absent"])
def test_a_broken_checkpoint_is_passed_over(tmp_path, caplog, name, how):
    model, optimiser = trained(tmp_path)
    good = checkpoint.save(tmp_path, model, optimiser, Progress(1))
    path = checkpoint.save(tmp_path, model, optimiser, Progress(2)) / name
    if how == "absent":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data[: len(data) // 2] if how == "torn" else data)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.latest(tmp_path) == good
    assert "step-00000002 is broken" in caplog.text


def test_an_unfinished_write_is_no_checkpoint(tmp_path):
    model, optimiser = trained(tmp_path)
    good = checkpoint.save(tmp_path, model, optimiser, Progress(1))
    shutil.copytree(good, tmp_path / ".step-00000002.part")
    assert checkpoint.latest(tmp_path) == good
    checkpoint.prune(tmp_path, keep=1, best_step=None)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"], "what a crash left behind is cleared"


def test_the_last_and_the_best_are_kept(tmp_path):
    model, optimiser = trained(tmp_path)
    for step in range(1, 6):
        checkpoint.save(tmp_path, model, optimiser, Progress(step))
    checkpoint.prune(tmp_path, keep=2, best_step=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-0000000{step}" for step in (2, 4, 5)]
    assert checkpoint.latest(tmp_path / "nothing") is None


def test_another_model_is_refused_by_name(tmp_path):
    model, optimiser = trained(tmp_path)
    path = checkpoint.save(tmp_path, model, optimiser, Progress(1))
    del model.heads["spare"]
    with pytest.raises(CheckpointError, match="spare"):
        checkpoint.load(path, model)
