"""Small data in files, and the command line in this process (importing torch anew for each command would take most of the time)."""

from pathlib import Path

import pytest
import torch

from tests.micro import micro_model
from vlfuse.cli import main
from vlfuse.data.scenes.write import write_scenes


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with `single/data.jsonl`, `pairs/data.jsonl` and `entailment/data.jsonl`."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder / "single", 8, size=64)
    write_scenes(folder / "pairs", 6, size=64, paired=True)
    write_scenes(folder / "entailment", 6, size=64, entailment=True)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return micro_model(tmp_path_factory.mktemp("models") / "micro")


@pytest.fixture
def vlfuse(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder; returns (exit code, what it printed, what it said went wrong)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # the parser's own, for --help and for arguments it cannot read
            code = int(exit.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
