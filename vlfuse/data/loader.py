"""Batches in an order that is a pure function of (seed, epoch, step), whatever the number of workers or processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from vlfuse.data.collate import Collate
from vlfuse.data.problems import Problems, SampleError
from vlfuse.data.readers import Dataset
from vlfuse.types import Batch, ConfigError, VlfuseError

MOST_REPLACED = 100  # unusable samples in a row before a run gives up on its data


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


class Maker(Protocol):
    def make(self, epoch: int, indices: np.ndarray) -> Made: ...


class Pool:
    """Makes batches in order: in this process (0 workers) or in worker processes that stay from one epoch to the next."""

    def __init__(self, makers: Sequence[Maker], workers: int):
        self.makers = makers
        self.workers = workers
        self._jobs: list[Job] = []
        self._loader: DataLoader | None = None

    def __getitem__(self, job: Job) -> Made:
        """Runs in the worker. An error travels back as a value: raised here, it would arrive as a formatted traceback."""
        try:
            return self.makers[job.maker].make(job.epoch, job.indices)
        except VlfuseError as error:
            return Made(None, error=error)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def run(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """What becomes of each job, in order. A second run ends the first."""
        if not self.workers:
            yield from (self[job] for job in jobs)
            return
        self._jobs = list(jobs)
        if self._loader is None:
            self._loader = self._start()
        yield from self._loader

    def _start(self) -> DataLoader:
        os.environ.setdefault(
            "TOKENIZERS_PARALLELISM", "false"
        )  # workers are the parallelism; also silences its fork warning
        return DataLoader(
            self,  # type: ignore[arg-type]  # a map from jobs to batches
            batch_size=None,
            sampler=self,
            num_workers=self.workers,
            collate_fn=_unchanged,
            persistent_workers=True,
            multiprocessing_context="fork" if hasattr(os, "fork") else None,  # forked workers share a cache of pictures
            generator=torch.Generator(),  # its own, so that starting workers draws nothing from the run's
        )


def _unchanged(made: Any) -> Any:
    return made


class Loader:
    """Batches of a dataset.

    batch_size: samples of the *global* batch; rank r of world_size takes the r-th part of each. Global batches do not depend on
    world_size, nor on workers. A sample's chance depends on (seed, epoch, its index) alone.
    shuffle: training. An unusable sample is replaced by the next usable one of the dataset, so batches keep their size; without
    shuffle (evaluation) it is left out. Both are counted in `problems`. strict: raise instead.
    drop_last: leave out the last, smaller batch of an epoch; by default as `shuffle`.
    Raises ConfigError for settings that cannot work.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Collate,
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
        self.dataset, self.collate, self.batch_size, self.seed, self.shuffle = (
            dataset,
            collate,
            batch_size,
            seed,
            shuffle,
        )
        self.rank, self.world_size, self.strict = rank, world_size, strict
        self.drop_last = shuffle if drop_last is None else drop_last
        self.problems = Problems()
        self.workers = workers
        self._pool = Pool([self], workers)
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size {batch_size} cannot be shared by {world_size} processes; use a multiple of {world_size}"
            )
        if not len(self):
            raise ConfigError(
                f"the dataset has {len(dataset)} samples, fewer than one batch of {batch_size}; lower the batch size"
            )

    def __len__(self) -> int:
        """Steps of one epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def iterate(self, epoch: int = 0, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on; nothing before it is read. Batches without any usable sample are left out."""
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

    def make(self, epoch: int, indices: np.ndarray) -> Made:
        """Read and collate the samples; runs in a worker."""
        problems: list[SampleError] = []
        prepared = [self._prepare(epoch, int(index), problems) for index in indices]
        kept = [p for p in prepared if p is not None]
        return Made(self.collate.join(kept) if kept else None, tuple(problems))

    def receive(self, made: Made) -> Batch | None:
        """Count what a worker left out, and raise what stopped it; runs in the main process."""
        for problem in made.problems:
            self.problems.add(problem)
        if made.error is not None:
            raise made.error
        return made.batch

    def _prepare(self, epoch: int, index: int, problems: list[SampleError]):
        for attempt in range(MOST_REPLACED):
            at = (index + attempt) % len(self.dataset)
            rng = np.random.default_rng([self.seed, epoch, at])
            try:
                return self.collate.prepare(self.dataset[at], rng)
            except SampleError as error:
                if self.strict or attempt == MOST_REPLACED - 1:
                    raise
                problems.append(error)
                if not self.shuffle:
                    return None
        return None


@lru_cache(maxsize=4)
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(length)
