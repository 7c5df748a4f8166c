"""Several datasets in one run: each batch comes from one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vlfuse.data.loader import Job, Loader, Pool
from vlfuse.data.problems import Problems
from vlfuse.types import Batch, ConfigError


class Mixture:
    """Batches of several loaders in proportion to their weights, each whole batch from one of them.

    steps: length of an epoch of the mixture. Every epoch has exactly the same number of batches of each loader, in an
    order that is a function of (seed, epoch); each loader goes on where it stopped, through its own epochs. One pool of
    workers, as large as the largest of the loaders', makes all batches.
    Raises ConfigError for weights that cannot be served.
    """

    def __init__(self, loaders: Sequence[Loader], weights: Sequence[float], steps: int, seed: int = 0):
        if not loaders or len(weights) != len(loaders) or min(weights) <= 0:
            raise ConfigError(f"a mixture of {len(loaders)} loaders needs as many weights above 0, not {list(weights)}")
        self.loaders, self.steps, self.seed = list(loaders), steps, seed
        self.counts = _shares(weights, steps)
        self.problems = Problems()
        for loader in self.loaders:
            loader.problems = self.problems
        self._pool = Pool([loader.maker for loader in loaders], max(loader.workers for loader in loaders))

    def __len__(self) -> int:
        return self.steps

    def sources(self, epoch: int) -> np.ndarray:
        """[steps] which loader gives the batch of each step."""
        return np.random.default_rng([self.seed, epoch]).permutation(
            np.repeat(np.arange(len(self.counts)), self.counts)
        )

    def iterate(self, epoch: int = 0, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on; nothing before it is read."""
        positions = epoch * self.counts
        jobs: list[Job] = []
        for step, source in enumerate(self.sources(epoch)):
            if step >= start_step:
                loader = self.loaders[source]
                own_epoch, own_step = divmod(int(positions[source]), len(loader))
                jobs.append(Job(int(source), own_epoch, loader.indices(own_epoch, own_step)))
            positions[source] += 1
        for job, made in zip(jobs, self._pool.run(jobs), strict=True):
            batch = self.loaders[job.maker].receive(made)
            if batch is not None:
                yield batch


def _shares(weights: Sequence[float], steps: int) -> np.ndarray:
    """Whole numbers in proportion to the weights that add up to `steps`;
    what rounding leaves goes to the largest remainders."""
    exact = np.array(weights, dtype=np.float64) / sum(weights) * steps
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: steps - counts.sum()]] += 1
    return counts
