"""A running average of the weights over training, which often answers better than the last weights do.

It lives among the optimiser's moments, so that checkpoints hold it and a resumed run goes on with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

KIND = "average"


@torch.no_grad()
def follow(optimiser: Optimizer, decay: float, step: int) -> None:
    """Let the averages take `1 - decay` of the weights after update number `step` (from 0); more at first,
    when they know little.

    The first steps take 9 / (10 + step), as is usual; the published detectors take the same share from the start.
    """
    share = max(1 - decay, 9 / (10 + step))
    for parameter, state in optimiser.state.items():
        if KIND in state:
            state[KIND].lerp_(parameter, share)
        else:  # not before the first update: an optimiser takes a parameter with state for one it has seen
            state[KIND] = parameter.detach().clone()


@torch.no_grad()
def adopt(optimiser: Optimizer) -> None:
    """Make the averages the weights, for good."""
    for parameter, state in _averaged(optimiser):
        parameter.copy_(state)


@contextmanager
def averaged(optimiser: Optimizer) -> Iterator[None]:
    """Lend the model its averaged weights."""
    own = [(parameter, parameter.detach().clone()) for parameter, _ in _averaged(optimiser)]
    adopt(optimiser)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in own:
                parameter.copy_(weights)


def _averaged(optimiser: Optimizer) -> list[tuple[nn.Parameter, Tensor]]:
    return [(parameter, state[KIND]) for parameter, state in optimiser.state.items() if KIND in state]  # type: ignore[misc]
