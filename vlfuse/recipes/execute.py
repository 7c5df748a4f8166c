"""From a run to a released model: build, train, evaluate, save."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from vlfuse.checkpoints.config import unknown
from vlfuse.checkpoints.folder import CONFIG, LoadedModel, Preprocessing, save_folder
from vlfuse.data.problems import Problems
from vlfuse.data.readers import Dataset, open_dataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.build import build, scoring
from vlfuse.engine.distributed import World, barrier, start
from vlfuse.engine.evaluate import CANDIDATES, EVALUATIONS, submission
from vlfuse.engine.loaders import evaluation_loader
from vlfuse.engine.log import LOG
from vlfuse.engine.run import RUN, Run, require_same
from vlfuse.engine.step import Loader
from vlfuse.engine.train import METRICS, train
from vlfuse.systems.base import Model
from vlfuse.types import CheckpointError, ConfigError

T = TypeVar("T")
MODEL = "model"  # of a run folder: the released model


def execute(run: Run, resume: bool = False, command: str = "") -> Path:
    """Train `run` (in every process that torchrun started) and write the model to `run.out/model`; returns that folder.

    command: what made the run, for the model card.
    """
    world = start(run.device)
    built = build(run, world)
    train(run, built.model, built.loaders, built.evaluators, world, resume)
    folder = Path(run.out) / MODEL
    if world.main:
        for loader in built.loaders:
            tell(loader.problems, "replaced by others")
        release(run, built.model, built.tokenizer, built.preprocessing, folder, command)
    barrier(world)
    return folder


def finished(run: Run) -> bool:
    """Whether the run's folder holds its released model. Raises ConfigError where it is another run's."""
    if not (Path(run.out) / MODEL / CONFIG).is_file():
        return False
    require_same(run)
    return True


def scores_of(run: Run, command: str = "") -> dict[str, float]:
    """Those of the finished run in its folder, which is executed for it, or goes on, where it is not finished yet."""
    if not finished(run):
        execute(run, resume=True, command=command)
    return read_scores(run.out)


def release(
    run: Run, model: Model, tokenizer: Tokenizer, preprocessing: Preprocessing, folder: Path, command: str = ""
) -> None:
    """Write the model with its card, its training log and the run that made it."""
    scores = read_scores(run.out)
    notes = {"recipe": run.recipe, "steps": run.steps, "seed": run.seed, "command": command, "scores": scores}
    text = card(run, model, folder, scores, command)
    save_folder(folder, model, tokenizer, preprocessing, dtype=run.release, card=text, notes=notes)
    for name in (LOG, RUN):
        shutil.copyfile(Path(run.out) / name, folder / name)


def read_scores(out: str | Path) -> dict[str, float]:
    """The scores of a finished run: {"<evaluation>/<metric>": value}."""
    return json.loads((Path(out) / METRICS).read_text(encoding="utf-8"))


def card(run: Run, model: Model, folder: Path, scores: dict[str, float], command: str) -> str:
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    data = [f"* `{source.data}`: {', '.join(source.heads)}" for source in run.sources]
    lines = [
        f"# {Path(run.out).name if folder.name == MODEL else folder.name}",
        "",
        f"{type(model.system).__name__}, {parameters:.1f} M parameters, heads: {', '.join(model.heads)}.",
        f"Trained by the recipe `{run.recipe}` for {run.steps} steps"
        + (f", starting from `{run.init}`." if run.init else ", from random weights."),
        "",
        "Learnt from:",
        "",
        *data,
        "",
        *(["Made by", "", "```", command, "```", ""] if command else []),
        *_table(scores),
        "```python",
        "import vlfuse",
        "",
        f'model = vlfuse.load("{folder.as_posix()}")',
        "```",
        "",
        *(
            ["Pictures keep their shape; labels are the user's own words. "]
            if "grounding" in model.heads
            else ["Pictures are stretched to a square; answers come from a closed list (`config.json`). "]
        ),
        "`log.jsonl` is the training log, `run.json` the whole configuration.",
    ]
    return "\n".join(lines) + "\n"


def _table(scores: dict[str, float]) -> list[str]:
    rows = [f"| {name} | {value:.4g} |" for name, value in scores.items() if "/" in name]
    return ["| held-out score | value |", "|---|---|", *rows, ""] if rows else []


def score(
    loaded: LoadedModel,
    task: str,
    data: str,
    batch_size: int = 64,
    device: str = "auto",
    strict: bool = False,
    candidates: int = CANDIDATES,
    folds: int = 1,
) -> dict[str, float]:
    """The scores of a released model on a task of EVALUATIONS. Raises TaskError where the model has no head for it.

    candidates: of retrieval, how many of each query are re-ranked by fusion. folds: of retrieval, in how many parts of the data,
    whose scores are averaged.
    """
    dataset, (tokenizer, given) = open_dataset(data), _words(loaded)
    how = scoring(_known(task), dataset, tokenizer, given, candidates, folds)
    return _evaluated(how, loaded, task, dataset, batch_size, device, strict)


def answers(
    loaded: LoadedModel, task: str, data: str, batch_size: int = 64, device: str = "auto", strict: bool = False
) -> list[dict[str, Any]]:
    """The submission file of a task, see `vlfuse.engine.evaluate.submission`; the data needs no answers."""
    how = partial(submission, task=_known(task))
    return _evaluated(how, loaded, task, open_dataset(data), batch_size, device, strict)


def _known(task: str) -> str:
    if task not in EVALUATIONS:
        raise ConfigError(unknown(f"task '{task}'", task, EVALUATIONS))
    return task


def _words(loaded: LoadedModel) -> tuple[Tokenizer, Preprocessing]:
    if loaded.tokenizer is None:
        raise CheckpointError("the model has no tokenizer.json; put the file of its tokenizer into its folder")
    return loaded.tokenizer, loaded.preprocessing


def _evaluated(
    how: Callable[[Model, Loader, World], T],
    loaded: LoadedModel,
    task: str,
    dataset: Dataset,
    batch_size: int,
    device: str,
    strict: bool,
) -> T:
    world = start(device)
    loader = evaluation_loader(EVALUATIONS[task].reads, dataset, *_words(loaded), batch_size, strict=strict)
    with torch.no_grad():
        found = how(loaded.model.to(world.device).eval(), loader, world)
    tell(loader.problems, "left out")
    return found


def tell(problems: Problems, fate: str) -> None:
    """Say how many different samples of a loader were unusable, if any."""
    if problems:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(problems.by_kind().items()))
        print(f"{len(problems)} unusable samples were {fate}: {kinds}")
