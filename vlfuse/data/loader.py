"""Batches in an order that is a pure function of (seed, epoch, step), whatever the number of workers or processes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from vlfuse.data.problems import Problems, SampleError
from vlfuse.data.readers import Dataset
from vlfuse.types import Batch, ConfigError, Sample, VlfuseError

MOST_REPLACED = 100  # unusable samples in a row before a run gives up on its data


class Collator(Protocol):
    """How samples become a batch. `prepare` raises SampleError where a sample cannot be used;
    `join` gets at least one."""

    def prepare(self, sample: Sample, rng: np.random.Generator, /) -> Any: ...
    def join(self, prepared: Sequence[Any], /) -> Batch: ...


@dataclass(frozen=True)
class Job:
    """One batch to be made: by which maker, from which samples."""

    maker: int
    epoch: int
    indices: np.ndarray


@dataclass(frozen=True)
class Made:
    """What a worker sends back: a batch (None where no sample was usable), what it left out, and what stopped it."""

    batch: Batch | None
    problems: tuple[SampleError, ...] = ()
    error: VlfuseError | None = None


@dataclass(frozen=True)
class Maker:
    """Reads and collates the samples of one batch: the part of a loader that lives in the workers."""

    dataset: Dataset
    collate: Collator
    seed: int
    replace: bool  # an unusable sample by the next one; else it is left out
    strict: bool  # raise instead

    def make(self, epoch: int, indices: np.ndarray) -> Made:
        problems: list[SampleError] = []
        prepared = [self._prepare(epoch, int(index), problems) for index in indices]
        kept = [p for p in prepared if p is not None]
        return Made(self.collate.join(kept) if kept else None, tuple(problems))

    def _prepare(self, epoch: int, index: int, problems: list[SampleError]) -> Any:
        for attempt in range(MOST_REPLACED):
            at = (index + attempt) % len(self.dataset)
            rng = np.random.default_rng([self.seed, epoch, at])
            try:
                return self.collate.prepare(self.dataset[at], rng)
            except SampleError as error:
                if self.strict or attempt == MOST_REPLACED - 1:
                    raise
                problems.append(error)
                if not self.replace:
                    break
        return None


class _Makers:
    """The map from jobs to batches that worker processes hold."""

    def __init__(self, makers: Sequence[Maker]):
        self.makers = makers

    def __getitem__(self, job: Job) -> Made:
        """An error travels back as a value: raised in a worker, it would arrive as a formatted traceback."""
        try:
            return self.makers[job.maker].make(job.epoch, job.indices)
        except VlfuseError as error:
            return Made(None, error=error)


class Pool:
    """Makes batches in order: in this process (0 workers) or in worker processes that stay from one epoch
    to the next."""

    def __init__(self, makers: Sequence[Maker], workers: int):
        self._makers = _Makers(makers)
        self._jobs: list[Job] = []  # of the run under way; the workers' sampler is this very list
        self._workers: list[DataLoader] = [self._start(workers)] if workers else []
        # Held alive from outside until this pool is gone: were the loader collected in a cycle (such as any traceback
        # makes), its queues would close before it could tell the workers to stop, and each would be waited for in vain.
        weakref.finalize(self, self._workers.clear)

    def run(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """What becomes of each job, in order. A new run ends the one before."""
        self._jobs[:] = jobs
        yield from self._workers[0] if self._workers else (self._makers[job] for job in jobs)

    def _start(self, workers: int) -> DataLoader:
        """The processes themselves begin with the first run."""
        # Workers are the parallelism; this also silences the tokenizers' warning about forks.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return DataLoader(
            self._makers,  # type: ignore[arg-type]  # a map, though not from numbers
            batch_size=None,
            sampler=self._jobs,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_unchanged,
            persistent_workers=True,
            multiprocessing_context="fork" if hasattr(os, "fork") else None,  # forked workers share a cache of pictures
            generator=torch.Generator(),  # its own, so that starting workers draws nothing from the run's
        )


def _unchanged(made: Any) -> Any:
    return made


class Loader:
    """Batches of a dataset.

    batch_size: samples of the *global* batch; rank r of world_size takes the r-th part of each. Global batches do not
    depend on world_size, nor on workers. A sample's chance depends on (seed, epoch, its index) alone.
    shuffle: training. An unusable sample is replaced by the next usable one of the dataset, so batches keep their size;
    without shuffle (evaluation) it is left out. Both are counted in `problems`. strict: raise instead.
    drop_last: leave out the last, smaller batch of an epoch; by default as `shuffle`.
    Raises ConfigError for settings that cannot work.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Collator,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        strict: bool = False,
        drop_last: bool | None = None,
    ):
        self.dataset, self.batch_size, self.seed, self.shuffle = dataset, batch_size, seed, shuffle
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.drop_last = shuffle if drop_last is None else drop_last
        self.problems = Problems()
        self.maker = Maker(dataset, collate, seed, replace=shuffle, strict=strict)
        self._pool = Pool([self.maker], workers)
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size {batch_size} cannot be shared by {world_size} processes; use a multiple of {world_size}"
            )
        if not len(self):
            raise ConfigError(
                f"the dataset has {len(dataset)} samples, fewer than one batch of {batch_size}; lower the batch size "
                f"(in a run that of its source, as in --sources.0.batch-size {len(dataset)})"
            )

    def __len__(self) -> int:
        """Steps of one epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def iterate(self, epoch: int = 0, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on; nothing before it is read.
        Batches without any usable sample are left out."""
        jobs = [Job(0, epoch, self.indices(epoch, step)) for step in range(start_step, len(self))]
        for made in self._pool.run([job for job in jobs if len(job.indices)]):
            batch = self.receive(made)
            if batch is not None:
                yield batch

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """The samples of this rank's part of the batch of (epoch, step)."""
        start = step * self.batch_size
        if self.shuffle:
            whole = _order(len(self.dataset), self.seed, epoch)[start : start + self.batch_size]
        else:
            whole = np.arange(start, min(start + self.batch_size, len(self.dataset)))
        return np.array_split(whole, self.world_size)[self.rank]

    def receive(self, made: Made) -> Batch | None:
        """Count what a worker left out, and raise what stopped it; runs in the main process."""
        for problem in made.problems:
            self.problems.add(problem)
        if made.error is not None:
            raise made.error
        return made.batch


@lru_cache(maxsize=4)
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(length)
