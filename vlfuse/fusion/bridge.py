"""Bridges: how a layer of a uni-modal encoder enters a layer of the cross-modal encoder (BridgeTower, Xu et al. 2023).

Shapes: B batch, N tokens, D width.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.fusion.coattention import Attention
from vlfuse.layers.mlp import MLP

BridgeKind = Literal[
    "add", "scaled_add", "interpolate", "multiply", "weighted", "gated", "concat", "mlp", "attention", "attention_mlp", "none"
]  # fmt: skip


class Add(nn.Module):
    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        return own + cross


class ScaledAdd(nn.Module):
    """The uni-modal side times a learnt number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        return self.scale * own + cross


class Interpolate(nn.Module):
    """Between the two by a learnt share of the cross-modal side: one number, or one for each channel."""

    def __init__(self, *shape: int):
        super().__init__()
        self.share = nn.Parameter(torch.full(shape, 0.5))

    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        return (1 - self.share) * own + self.share * cross


class Multiply(nn.Module):
    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        return own * cross


class Gated(nn.Module):
    """Between the two by a share that the token itself decides, for each channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        share = torch.sigmoid(self.gate(torch.cat([cross, own], dim=-1)))
        return share * cross + (1 - share) * own


class Concat(nn.Module):
    """One matrix over both, or with `hidden` two around a GELU."""

    def __init__(self, width: int, hidden: bool = False):
        super().__init__()
        self.inner = nn.Linear(2 * width, 2 * width) if hidden else None
        self.outer = nn.Linear(2 * width, width)

    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        both = torch.cat([cross, own], dim=-1)
        return self.outer(both if self.inner is None else F.gelu(self.inner(both)))


class Attend(nn.Module):
    """The cross-modal tokens look at the uni-modal ones; with `hidden` a feed-forward layer follows."""

    def __init__(self, width: int, heads: int, hidden: bool = False):
        super().__init__()
        self.attention = Attention(width, heads, dropout=0.0)
        self.mlp = MLP(width, 4 * width) if hidden else nn.Identity()

    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        return self.mlp(self.attention(cross, own, mask))


# (width, heads) -> what mixes. Add is the published kind; the first three are also those of Hugging Face transformers;
# the others are the definitions that the paper compares (its table of bridge definitions).
MIXES: dict[str, Callable[[int, int], nn.Module]] = {
    "add": lambda width, heads: Add(),
    "scaled_add": lambda width, heads: ScaledAdd(),
    "interpolate": lambda width, heads: Interpolate(),
    "multiply": lambda width, heads: Multiply(),
    "weighted": lambda width, heads: Interpolate(width),
    "gated": lambda width, heads: Gated(width),
    "concat": lambda width, heads: Concat(width),
    "mlp": lambda width, heads: Concat(width, hidden=True),
    "attention": lambda width, heads: Attend(width, heads),
    "attention_mlp": lambda width, heads: Attend(width, heads, hidden=True),
}


class Bridge(nn.Module):
    """LayerNorm(mix(uni-modal, cross-modal)): what a cross-modal layer reads."""

    def __init__(self, kind: BridgeKind, width: int, heads: int, eps: float = 1e-5):
        super().__init__()
        self.mix = MIXES[kind](width, heads)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, own: Tensor, cross: Tensor, mask: Tensor | None) -> Tensor:
        """own [B, N, D] the uni-modal level, cross [B, N, D] the cross-modal state, mask [B, N] bool or None:
        all real."""
        return self.norm(self.mix(own, cross, mask))
