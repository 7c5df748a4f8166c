"""The command line, reading its arguments and doing nothing."""

import functools
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vlfuse import cli, processes
from vlfuse.checkpoints.importing import FORMATS
from vlfuse.commands import data, train
from vlfuse.data.convert import CONVERTERS
from vlfuse.engine.run import Run
from vlfuse.recipes.asked import Asked

KNOWN = {"convert": CONVERTERS, "importing": FORMATS}  # that a string of `format` must be among


def only_read(patch: pytest.MonkeyPatch) -> None:
    """From now on commands of this process check their arguments, and that is all."""
    one_process(patch)
    for name in ("demo", "evaluate", "export", "importing", "models", "new", "predict", "transfer"):
        module = import_module(f"vlfuse.commands.{name}")
        patch.setattr(module, "run", silent(module.run, name))
    patch.setattr(data, "COMMANDS", {name: silent(command, name) for name, command in data.COMMANDS.items()})
    patch.setattr(train, "RECIPES", {name: bare(recipe) for name, recipe in train.RECIPES.items()})
    patch.setattr(train, "execute", lambda run, resume, command: Path(run.out))


def one_process(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cli, "PROCESSES", dict.fromkeys(cli.PROCESSES, 1))
    patch.setattr(processes, "run_in", lambda number, main, arguments: main(arguments))


def silent(command: Callable[..., Any], name: str) -> Callable[..., None]:
    """Takes what `command` takes."""

    @functools.wraps(command)
    def read(**given: Any) -> None:
        known = KNOWN.get(name)
        assert known is None or given["format"].isupper() or given["format"] in known, given["format"]

    return read


def bare(recipe: Callable[..., Run]) -> Callable[..., Run]:
    """Takes what `recipe` takes and returns the run that it makes without data and a model to start from."""

    @functools.wraps(recipe)
    def read(**given: Any) -> Run:
        return recipe(Asked()) if "asked" in given else recipe()

    return read
