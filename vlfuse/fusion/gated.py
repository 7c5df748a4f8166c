"""FIBER's fusion: cross-attention behind a learned gate, inside a backbone block (paper section 3.1, equations 3-4).

Shapes: B batch, N query tokens, K context tokens, D width, C context width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.linear import Linear


class GatedCrossAttention(nn.Module):
    """gate * proj(attention(query(norm(x)), context)), to be added to a block's self-attention output `x`.

    The image side normalises its query (`norm=True`), the text side does not. The gate is one scalar, 0 in the
    paper, so that at the start the pre-trained backbone is unchanged. No position bias: every query sees all of the context.
    `context_norm` normalises what is read, which the paper does not (see FiberConfig.read_norm).
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        heads: int,
        norm: bool,
        gate: float = 0.0,
        dropout: float = 0.0,
        context_norm: bool = False,
    ):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm = nn.LayerNorm(width, eps=1e-5) if norm else nn.Identity()
        self.context_norm = nn.LayerNorm(context_width, eps=1e-5) if context_norm else nn.Identity()
        self.query = Linear(width, width)
        self.key_value = nn.Linear(context_width, 2 * width)
        self.proj = Linear(width, width)
        self.gate = nn.Parameter(torch.full((1,), float(gate)))
        self.watched: list[Tensor] | None = (
            None  # while a list, every pass adds where it looked, [B, N, K], mean over heads
        )

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """context [B, K, C] -> keys and values [B, H, K, D / H]: all that `forward` needs of it."""
        key, value = (
            self.key_value(self.context_norm(context)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        return key, value

    def forward(self, x: Tensor, context: Tensor | tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """x [B, N, D], context [B, K, C] or its keys and values, mask [B, K] bool (True = visible) or None -> [B, N, D].

        Several rows of x may share a context, B of it for k B rows in groups of k: each query attends on its own.
        """
        key, value = context if isinstance(context, tuple) else self.keys_values(context)
        query = self.query(self.norm(x)).view(len(key), -1, self.heads, key.shape[-1]).transpose(1, 2)
        visible = None if mask is None else mask[:, None, None, :]
        if self.watched is not None:
            score = query.float() @ key.float().transpose(-1, -2) / key.shape[-1] ** 0.5
            score = score if visible is None else score.masked_fill(~visible, float("-inf"))
            self.watched.append(score.softmax(-1).mean(1))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        y = self.proj(y.transpose(1, 2).reshape(x.shape))
        return self.gate * F.dropout(y, self.dropout, self.training)
