"""One update of the weights: batches taken, losses summed over sources and passes,
gradients averaged over processes."""

import random
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vlfuse.engine.distributed import World, barrier, mean
from vlfuse.engine.failure import keep_batches
from vlfuse.engine.run import Run, Source
from vlfuse.types import Batch, DataError, VlfuseError

NONFINITE = "nonfinite"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Loader(Protocol):
    """Batches of this process; their order is a pure function of the epoch and the step in it."""

    def __len__(self) -> int: ...
    def iterate(self, epoch: int = 0, start_step: int = 0) -> Iterator[Batch]: ...


class NonFinite(VlfuseError):
    """The loss or the gradient is not a number."""


class Stream:
    """The batches of a source by number: batch n is step n mod length of epoch n div length."""

    def __init__(self, loader: Loader):
        self.loader = loader
        self._next = -1
        self._batches: Iterator[Batch] = iter(())

    def take(self, number: int) -> Batch:
        epoch, step = divmod(number, len(self.loader))
        if number != self._next or step == 0:
            self._batches = self.loader.iterate(epoch, step)
        self._next = number + 1
        batch = next(self._batches, None)
        if batch is None:
            raise DataError(f"the data ended at batch {step} of epoch {epoch}, which should have {len(self.loader)}")
        return batch


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of an update: batch number `batch` of source number `source`."""

    source: int
    batch: int


def passes(sources: Sequence[Source], step: int, accumulate: int) -> list[Pass]:
    """The passes of a step in order; a source takes part `accumulate` times when it is its turn."""
    return [
        Pass(i, (step - source.first) // source.every * accumulate + part)
        for i, source in enumerate(sources)
        if source.has_turn(step)
        for part in range(accumulate)
    ]


def seed_pass(seed: int, step: int, number: int, rank: int) -> torch.Generator:
    """Seed every generator a pass may draw from. Dropout differs between processes; the generator returned, for what
    all processes draw together, does not."""
    alike = int(np.random.SeedSequence([seed, step, number]).generate_state(1)[0])
    own, other = np.random.SeedSequence([seed, step, number, rank + 1]).generate_state(2).tolist()
    torch.manual_seed(own << 32 | other)
    np.random.seed(own)
    random.seed(other)
    return torch.Generator().manual_seed(alike)


@dataclass
class Update:
    """Makes the updates of a run. `parallel` is the model, wrapped where there are several processes."""

    run: Run
    world: World
    parallel: nn.Module
    optimiser: Optimizer
    scaler: torch.amp.GradScaler  # type: ignore[name-defined]
    streams: Sequence[Stream]

    def __call__(self, step: int) -> tuple[dict[str, float], int]:
        """Update number `step` (from 0): {"loss", "<head>/<metric>", "grad_norm"}, means over passes and processes, and
        how many pictures it saw. Raises NonFinite, before the weights are touched,
        when the loss or the gradient is no number."""
        run, scaler = self.run, self.scaler
        self.optimiser.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        planned, batches = passes(run.sources, step, run.accumulate), []
        for number, part in enumerate(planned):
            batches.append(self.streams[part.source].take(part.batch).to(self.world.device))
            with self._sync(last=number == len(planned) - 1):
                self._accumulate(part, batches[-1], seed_pass(run.seed, step, number, self.world.rank), values)
        scaler.unscale_(self.optimiser)
        values["grad_norm"] = clip_gradient(self.optimiser, run.optim.clip_norm)
        found = average(values, self.world)
        # An infinite gradient in fp16 is everyday: the scaler leaves such an update out and lowers its scale.
        if not np.isfinite(found["loss"]) or not (np.isfinite(found["grad_norm"]) or scaler.is_enabled()):
            self._stop(step, found, batches)
        scaler.step(self.optimiser)
        scaler.update()
        return found, sum(len(batch.images) for batch in batches) * self.world.size

    def _accumulate(self, part: Pass, batch: Batch, generator: torch.Generator, values: dict[str, Tensor]) -> None:
        """Forward and backward of one pass; adds its losses and metrics to `values`."""
        run, source = self.run, self.run.sources[part.source]
        with torch.autocast(self.world.device.type, DTYPES[run.precision], enabled=run.precision != "fp32"):
            results = self.parallel(batch, tuple(source.heads), generator)
        loss = torch.stack([weight * results[head]["loss"] for head, weight in source.heads.items()]).sum()
        loss = loss / run.accumulate
        self.scaler.scale(loss).backward()
        values["loss"] = values.get("loss", 0) + loss.detach()
        for head, metrics in results.items():
            shared = sum(head in other.heads for other in run.sources) > 1
            for metric, value in metrics.items():
                name = f"{head}@{part.source}/{metric}" if shared else f"{head}/{metric}"
                values[name] = values.get(name, 0) + value.detach().float() / run.accumulate

    def _sync(self, last: bool):
        """Gradients travel once, in the last pass."""
        return nullcontext() if last or self.world.size == 1 else self.parallel.no_sync()  # type: ignore[operator]

    def _stop(self, step: int, found: dict[str, float], batches: list[Batch]) -> None:
        folder = Path(self.run.out) / NONFINITE / f"step-{step:08d}"
        wrong = [name for name, value in found.items() if not np.isfinite(value)]
        values = {name: value if np.isfinite(value) else str(value) for name, value in found.items()}
        keep_batches(folder, batches, self.world.rank, {"step": step, "seed": self.run.seed, "values": values})
        barrier(self.world)
        raise NonFinite(
            f"step {step}: {', '.join(wrong)} not finite. The batches are kept in {folder}; the last checkpoint is from before. "
            "Lower optim.lr, set optim.clip_norm, or use precision fp32 or bf16"
        )


def clip_gradient(optimiser: Optimizer, limit: float | None) -> Tensor:
    """Norm of the whole gradient, [] float; scaled down to `limit` where there is one."""
    parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])  # type: ignore[misc]
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def average(values: dict[str, Tensor], world: World) -> dict[str, float]:
    """Means over processes as numbers, in one exchange and one transfer."""
    device = world.device
    stacked = torch.stack(
        [value.to(device, torch.float64 if device.type == "cpu" else torch.float32) for value in values.values()]
    )
    return dict(zip(values, mean(stacked, world).tolist(), strict=True))
