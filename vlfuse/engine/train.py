"""The training loop: single process or torchrun, resumable to the bit.

A run is a pure function of its configuration: the batches of a step follow from (seed, epoch, step), and the generators
that dropout and sampling use are seeded anew at every pass from (seed, step, pass, process). So a checkpoint needs only
weights, moments and the step, and a resumed run repeats the uninterrupted one exactly.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.optim import Optimizer

from vlfuse.data.files import write_json
from vlfuse.engine import checkpoint
from vlfuse.engine.average import adopt, averaged, follow
from vlfuse.engine.checkpoint import Progress
from vlfuse.engine.distributed import World, any_process, barrier, start, wrap
from vlfuse.engine.log import LOG, Log
from vlfuse.engine.optimiser import build_optimiser, set_lr
from vlfuse.engine.run import RUN, Run, require_same, save_run
from vlfuse.engine.step import Loader, Stream, Update
from vlfuse.systems.base import Model, recompute
from vlfuse.types import ConfigError, VlfuseError

CHECKPOINTS, METRICS = "checkpoints", "metrics.json"
# The steps of a system, not the whole model: heads call them with other numbers of rows,
# and parameters keep their names.
COMPILED = ("encode_image", "encode_text", "fuse", "project_image", "project_text", "encode_maps", "fuse_maps")


@dataclass(frozen=True)
class Evaluator:
    """Scores of a model, every n steps (0: at the end only). Called on every process, in evaluation mode, without
    gradient; every process returns the same."""

    name: str
    scores: Callable[[Model], dict[str, float]]
    every: int = 0

    def due(self, step: int, steps: int) -> bool:
        return step == steps or bool(self.every and step % self.every == 0)


class Stopped(VlfuseError):
    """The run was asked to stop (SIGINT, SIGTERM) and did, behind a checkpoint."""


def train(
    run: Run,
    model: Model,
    loaders: Sequence[Loader],
    evaluators: Sequence[Evaluator] = (),
    world: World | None = None,
    resume: bool = False,
) -> Path:
    """Train `model` in place and return the run's folder.

    loaders: one for each of `run.sources`, in batches of `batch_size / accumulate` samples over all processes.
    resume: go on from the newest whole checkpoint in `run.out`, from the start where there is none. On return the model
    holds the last weights (their average, with `run.average`), or those of the best score where `run.best` names one,
    and `metrics.json` their scores. Raises Stopped on a signal (after a checkpoint), NonFinite when the loss is no
    number (its batches are kept in `nonfinite/`), ConfigError when the folder holds another run.
    """
    world = world or start(run.device)
    out, checkpoints = Path(run.out), Path(run.out) / CHECKPOINTS
    claim(run, world, resume)
    prepare(model.to(world.device), run)
    optimiser = build_optimiser(model, run.optim)
    scaler = torch.amp.GradScaler(world.device.type, enabled=run.precision == "fp16")  # type: ignore[attr-defined]
    progress = restore(checkpoints, model, optimiser, scaler) if resume else Progress()
    update = Update(run, world, wrap(model, world), optimiser, scaler, [Stream(loader) for loader in loaders])
    log = Log(out, run.steps, progress.step, run.tensorboard, world.main)
    scores: dict[str, float] | None = None
    with interruptions() as interrupted:
        while progress.step < run.steps:
            lr = set_lr(optimiser, run.optim, progress.step, run.steps)
            values, images = update(progress.step)
            step = progress.step + 1
            log.train(step, {**values, "lr": lr}, images, show=step % run.log_every == 0 or step == run.steps)
            if run.average:
                follow(optimiser, run.average, progress.step)
            scores = evaluate(model, [e for e in evaluators if e.due(step, run.steps)], optimiser)
            log.scores(step, scores)
            last, progress = progress, judge(progress, step, best_of(run, scores))
            stop = any_process(interrupted(), world) and step < run.steps
            if step % run.save_every == 0 or step == run.steps or stop or progress.best_step != last.best_step:
                progress = replace(progress, scaler=scaler.state_dict())
                if world.main:
                    checkpoint.save(checkpoints, model, optimiser, progress)
                    checkpoint.prune(checkpoints, run.keep, progress.best_step)
                barrier(world)
            if stop:
                log.close()
                raise Stopped(f"stopped at step {step} of {run.steps}; go on with --resume")
    log.close()
    finish(run, model, optimiser, evaluators, progress, scores, world)
    return out


def claim(run: Run, world: World, resume: bool) -> None:
    """Make the folder this run's own: a folder with another run in it is not written over."""
    if world.main:
        if resume and (Path(run.out) / RUN).exists():
            require_same(run)
        elif (Path(run.out) / LOG).exists() or checkpoint.latest(Path(run.out) / CHECKPOINTS):
            mend = (
                "its run.json, which says what it is, is gone: give another --out"
                if resume
                else "go on with --resume, or give another --out"
            )
            raise ConfigError(f"{run.out} holds a run already; {mend}")
        save_run(run)
    barrier(world)


def prepare(model: Model, run: Run) -> None:
    model.train()
    recompute(model, run.activation_checkpointing)
    for step in COMPILED if run.compile else ():
        setattr(model.system, step, torch.compile(getattr(model.system, step)))


def restore(checkpoints: Path, model: Model, optimiser: Optimizer, scaler: torch.amp.GradScaler) -> Progress:  # type: ignore[name-defined]
    path = checkpoint.latest(checkpoints)
    if path is None:
        return Progress()
    progress = checkpoint.load(path, model, optimiser)
    scaler.load_state_dict(progress.scaler)
    return progress


@torch.no_grad()
def evaluate(model: Model, evaluators: Sequence[Evaluator], optimiser: Optimizer) -> dict[str, float]:
    """{"<evaluator>/<metric>": value}, of the averaged weights where there are such; the model is left as it was."""
    if not evaluators:
        return {}
    training = model.training
    model.eval()
    with averaged(optimiser):
        scores = {f"{e.name}/{metric}": float(value) for e in evaluators for metric, value in e.scores(model).items()}
    model.train(training)
    return scores


def best_of(run: Run, scores: dict[str, float]) -> float | None:
    """The score that `run.best` names, None where it was not evaluated."""
    evaluation = run.best.partition("/")[0]
    measured = sorted(name for name in scores if name.partition("/")[0] == evaluation)
    if run.best and measured and run.best not in measured:
        raise ConfigError(f"run.best is '{run.best}', which is not measured; measured are {', '.join(measured)}")
    return scores.get(run.best)


def judge(progress: Progress, step: int, score: float | None) -> Progress:
    """The progress after `step`, which scored `score` (None: not evaluated)."""
    if score is not None and (progress.best is None or score > progress.best):
        return replace(progress, step=step, best=score, best_step=step)
    return replace(progress, step=step)


def finish(
    run: Run,
    model: Model,
    optimiser: Optimizer,
    evaluators: Sequence[Evaluator],
    progress: Progress,
    scores: dict[str, float] | None,
    world: World,
) -> None:
    """Give the model the weights to release, and write their scores."""
    released = progress.best_step or progress.step
    if released != progress.step:
        checkpoint.load(checkpoint.path_of(Path(run.out) / CHECKPOINTS, released), model, optimiser)
    if released != progress.step or scores is None:
        scores = evaluate(model, evaluators, optimiser)
    adopt(optimiser)
    model.eval()
    if world.main:
        write_json(Path(run.out) / METRICS, {"step": released, **scores})
    barrier(world)


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a wish that the loop asks for; a second one acts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may handle signals
        return
    wished = False
    process = os.getpid()

    def wish(number: int, frame: object) -> None:
        nonlocal wished
        if wished:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
        wished = True
        if os.getpid() == process:  # data workers inherit the handler
            print("\nstopping after this step; once more to stop at once", flush=True)

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wished
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
