"""One command in several processes: they find each other, share the cores, and fail as one would."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from vlfuse import processes
from vlfuse.engine.distributed import start, total
from vlfuse.processes import run_in, wanted
from vlfuse.types import ConfigError


def add(arguments: Sequence[str]) -> int:
    """Writes the sum of 1 + rank over all processes, and the threads each may use; the code is that of its rank."""
    world = start("cpu")
    found = int(total(torch.tensor(1.0 + world.rank), world))
    (Path(arguments[0]) / f"{world.rank}").write_text(f"{found} {os.environ['OMP_NUM_THREADS']}")
    return int(arguments[1 + world.rank])


def test_processes_work_together(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes, "cores", lambda: 6)
    before = dict(os.environ)
    assert run_in(2, add, [str(tmp_path), "0", "0"]) == 0
    assert [(tmp_path / name).read_text() for name in "01"] == ["3 3", "3 3"]
    assert dict(os.environ) == before


def test_a_failure_is_told(tmp_path):
    assert run_in(2, add, [str(tmp_path), "0", "2"]) == 2


def test_how_many(monkeypatch):
    monkeypatch.setattr(processes, "room", lambda: 4)
    assert wanted(["train", "x", "--steps", "3"]) == (1, ["train", "x", "--steps", "3"])
    assert wanted(["train", "--processes", "3", "x"]) == (3, ["train", "x"])
    assert wanted(["train", "--processes=3", "--a=b"]) == (3, ["train", "--a=b"])
    assert wanted(["demo"], default=2) == (2, ["demo"]) and wanted(["demo"], default=8) == (4, ["demo"])
    for bad in ("0", "two", "-1", ""):
        with pytest.raises(ConfigError, match=f"processes is '{bad}'"):
            wanted(["train", "--processes", bad])
    with pytest.raises(ConfigError, match="processes is ''"):
        wanted(["train", "--processes"])


def test_inside_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert wanted(["demo"], default=2) == (1, ["demo"])
    with pytest.raises(ConfigError, match="torchrun started"):
        wanted(["train", "--processes", "2"])


def test_every_process_has_its_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert wanted(["demo"], default=2) == (1, ["demo"])
    with pytest.raises(ConfigError, match="there are 1 GPUs"):
        wanted(["train", "--processes", "2"])
