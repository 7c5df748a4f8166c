"""`vlfuse train RECIPE`."""

import shlex
from collections.abc import Sequence
from inspect import getdoc

import tyro

from vlfuse.checkpoints.config import config_from_dict, config_to_dict, unknown
from vlfuse.engine.distributed import stop
from vlfuse.engine.run import Run
from vlfuse.recipes import RECIPES
from vlfuse.recipes.execute import execute
from vlfuse.types import ConfigError

USAGE = """usage: vlfuse train RECIPE [options of the recipe] [--resume] [--any.field.of.the.run value]

recipes:
{recipes}

vlfuse train RECIPE --help   the options of a recipe
vlfuse train RECIPE --fields every field of the run it makes, with its value, such as
                             --optim.lr 1e-4 --workers 4 --precision bf16 --sources.0.batch-size 32
--resume                     go on from the last checkpoint in the run's folder
--processes N                train in N processes of this machine: one a GPU, or two for small models on two cores;
                             several machines: torchrun ... -m vlfuse.cli train RECIPE ..."""


def main(arguments: Sequence[str]) -> None:
    given = list(arguments)
    if not given or given[0] in ("-h", "--help"):
        width = max(map(len, RECIPES))
        about = [f"  {name:<{width}}  {(getdoc(f) or '').splitlines()[0]}" for name, f in RECIPES.items()]
        print(USAGE.format(recipes="\n".join(about)))
        return
    name, *rest = given
    if name not in RECIPES:
        raise ConfigError(unknown(f"recipe '{name}'", name, RECIPES))
    resume, fields = "--resume" in rest, "--fields" in rest
    rest = [argument for argument in rest if argument not in ("--resume", "--fields")]
    run = configure(name, [*rest, "--help"] if fields else rest, show_fields=fields)
    try:
        folder = execute(run, resume, command=shlex.join(["vlfuse", "train", *given]))
    finally:
        stop()
    print(f"the model is in {folder}")


def configure(name: str, arguments: Sequence[str], show_fields: bool = False) -> Run:
    """The run of a recipe with its options; whatever else is given sets fields of the run."""
    program = f"vlfuse train {name}"
    given = [a for a in arguments if a != "--help"] if show_fields else list(arguments)
    run, rest = tyro.cli(
        RECIPES[name], prog=program, args=given, return_unknown_args=True, config=(tyro.conf.OmitArgPrefixes,)
    )
    changed = tyro.cli(Run, prog=program, default=run, args=[*rest, "--help"] if show_fields else rest)
    return config_from_dict(Run, config_to_dict(changed))  # as it will be read from run.json: lists, not tuples
