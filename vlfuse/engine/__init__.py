"""Training: run configuration, the loop, optimiser and schedule, processes, checkpoints, logs, evaluation."""

from vlfuse.engine.distributed import World, start
from vlfuse.engine.run import Evaluation, Optim, Run, Source, load_run, save_run
from vlfuse.engine.step import NonFinite
from vlfuse.engine.train import Evaluator, Stopped, train

__all__ = [
    "Evaluation",
    "Evaluator",
    "NonFinite",
    "Optim",
    "Run",
    "Source",
    "Stopped",
    "World",
    "load_run",
    "save_run",
    "start",
    "train",
]
