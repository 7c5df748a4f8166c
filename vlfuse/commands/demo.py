"""`vlfuse demo`."""

from collections.abc import Sequence
from pathlib import Path

import tyro

from vlfuse.engine.distributed import start
from vlfuse.recipes.demo import MINUTES, demo


def run(out: Path = Path("runs/demo"), minutes: float = MINUTES) -> None:
    """Train a small model on generated scenes and write a report of what it learnt. Finished stages are not repeated.

    Args:
        out: Folder for the runs, metrics.json and report.html.
        minutes: About how long to train on two cores; more steps learn more.
    """
    page = demo(out, minutes)
    if start().main:
        print(f"open {page}")


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse demo", args=arguments)
