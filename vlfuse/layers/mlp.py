"""Small shared modules: feed-forward, stochastic depth, pooler.

Shapes: B batch, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.linear import Linear

# Of a branch's usual weights, where a small model starts from nothing: see `TextEncoder.start_from_scratch`.
SMALL_BRANCH = 0.3


class MLP(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): drop a residual branch per sample, rescale what stays."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not self.training:
            return x
        keep = torch.empty(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Pooler(nn.Module):
    """Linear and tanh over one summary vector: [B, D] -> [B, D]."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x))


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """BERT's initialisation: N(0, std) weights, zero biases, unit norms. Use with `Module.apply`."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def init_truncated(module: nn.Module, std: float = 0.02) -> None:
    """Swin's initialisation: truncated normal weights, zero biases, unit norms. Use with `Module.apply`."""
    init_normal(module, std)
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std)


def init_fan_in(module: nn.Module) -> None:
    """For small models from scratch: linear weights N(0, 1 / fan-in),
    so that every layer keeps the scale of its input."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
