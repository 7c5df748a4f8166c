"""Checkpoints of a run: written whole or not at all, verified before they are used, free of pickles.

`checkpoints/step-00001000/` holds `model.safetensors`, `optimiser.safetensors` and, written last, `state.json` with the
SHA-256 of both. A folder without a valid `state.json` was never finished and is passed over.

There is no state of random generators to keep: every step seeds them anew from (seed, step, process), see `train`.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from vlfuse.checkpoints.mapping import require_fit
from vlfuse.types import CheckpointError

log = logging.getLogger(__name__)

MODEL, OPTIMISER, STATE = "model.safetensors", "optimiser.safetensors", "state.json"
FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """Where a run stands. step: updates done; the position in every source follows from it.

    best, best_step: the best score so far and the step it was reached at; scaler: state of the fp16 loss scale.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    scaler: dict[str, Any] = field(default_factory=dict)


def path_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def save(folder: Path, model: nn.Module, optimiser: Optimizer, progress: Progress) -> Path:
    """Write the checkpoint of `progress.step` into `folder` in one step: after a crash it is whole or absent."""
    final = path_of(folder, progress.step)
    part = folder / f".{final.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(_owned(model.state_dict()), part / MODEL)
    save_file(_owned(optimiser_tensors(model, optimiser)), part / OPTIMISER)
    digests = {name: _digest(part / name) for name in (MODEL, OPTIMISER)}
    state = {"format": FORMAT, "progress": asdict(progress), "sha256": digests}
    (part / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for name in (MODEL, OPTIMISER, STATE):
        _sync(part / name)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(part, final)
    _sync(folder)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint. Broken ones are named in a warning and passed over; None where there is none."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        trouble = damage(path)
        if trouble is None:
            return path
        log.warning("checkpoint %s is broken (%s); going on from the one before", path, trouble)
    return None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if it is whole."""
    try:
        digests = json.loads((path / STATE).read_text(encoding="utf-8"))["sha256"]
        for name in (MODEL, OPTIMISER):
            if _digest(path / name) != digests[name]:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{error.filename} cannot be read"
    except (ValueError, KeyError, TypeError):
        return f"{STATE} is not what was written"
    return None


def load(path: Path, model: nn.Module, optimiser: Optimizer | None = None) -> Progress:
    """Restore a checkpoint strictly. Raises CheckpointError where it does not fit."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors = load_file(path / MODEL)
        moments = load_file(path / OPTIMISER) if optimiser is not None else {}
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); remove it to go on from the one before") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {state.get('format')!r}; this version reads format {FORMAT}")
    require_fit(model.state_dict(), tensors, str(path / MODEL))
    model.load_state_dict(tensors)
    if optimiser is not None:
        _restore(model, optimiser, moments, path)
    return Progress(**state["progress"])


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Remove all but the last `keep` checkpoints and the best one, and what unfinished writes left behind."""
    paths = sorted(folder.glob("step-*"))
    spared = {path_of(folder, best_step)} if best_step is not None else set()
    for path in paths[:-keep]:
        if path not in spared:
            # Renamed first: a removal that is cut short must not leave a half checkpoint under a good name.
            gone = path.with_name(f".{path.name}.part")
            os.replace(path, gone)
    for part in folder.glob(".step-*.part"):
        shutil.rmtree(part, ignore_errors=True)


def drop_after(folder: Path, step: int) -> None:
    """Remove checkpoints beyond `step`: broken ones that a resumed run will write again."""
    for path in folder.glob("step-*"):
        if re.fullmatch(r"step-\d+", path.name) and int(path.name[5:]) > step:
            shutil.rmtree(path)


def optimiser_tensors(model: nn.Module, optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as tensors named `exp_avg/<parameter>`; rates and groups follow from the run."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{kind}/{names[id(parameter)]}": value
        for parameter, state in optimiser.state.items()
        for kind, value in state.items()
    }


def _restore(model: nn.Module, optimiser: Optimizer, tensors: dict[str, Tensor], path: Path) -> None:
    numbers: dict[str, int] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            numbers[names[id(parameter)]] = len(numbers)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if name not in numbers:
            raise CheckpointError(f"{path / OPTIMISER} holds {key}, which this model does not train")
        state.setdefault(numbers[name], {})[kind] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _owned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies in memory of their own: safetensors stores no views and no shared tensors."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have the disk hold what was written, not only the operating system."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders, and orders their updates itself
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
