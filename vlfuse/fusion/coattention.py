"""Co-attention: one stream of tokens attends to itself, then to the other stream (METER, Dou et al. 2022; BridgeTower).

Shapes: B batch, N tokens, Q queries, K context tokens, D width, H heads, d = D / H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.mlp import MLP, SMALL_BRANCH


class Attention(nn.Module):
    """Multi-head attention of x to a context of the same width; to itself when both are one."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """x [B, Q, D], context [B, K, D], mask [B, K] bool (True: visible) or None: all are -> [B, Q, D]."""
        B, Q, D = x.shape
        query = self.query(x).view(B, Q, self.heads, -1).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        if Q == 1:
            y = self._lone(query, context, mask, dropout)
        else:
            key, value = self.key_value(context).view(B, -1, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
            visible = None if mask is None else mask[:, None, None, :]
            y = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
            y = y.transpose(1, 2).reshape(B, Q, D)
        return F.dropout(self.proj(y), self.dropout, self.training)

    def look(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Where each query looks: attention [B, Q, K], the mean over heads."""
        query = self.query(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
        key = self.key_value(context)[..., : x.shape[-1]].view(*context.shape[:2], self.heads, -1).transpose(1, 2)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        return scores.float().softmax(-1).mean(1)

    def _lone(self, query: Tensor, context: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        """The same for a single query [B, H, 1, d], without a key and a value for every token: q (K c) = (q K) c, and
        the values are mixed before they are projected. The bias of the keys moves all scores alike, so it falls out."""
        heads, width = self.heads, context.shape[-1]
        key, value = self.key_value.weight.view(2, heads, width // heads, width)
        scores = torch.einsum("bhqd,hdc->bhc", query, key) @ context.transpose(1, 2) * (width // heads) ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
        weights = F.dropout(scores.softmax(-1), dropout)
        y = torch.einsum("bhc,hdc->bhd", weights.to(context.dtype) @ context, value)
        bias = self.key_value.bias[width:].view(heads, -1)
        return (y + weights.sum(-1, keepdim=True) * bias).reshape(len(context), 1, width)


class CrossLayer(nn.Module):
    """Self-attention, attention to the other stream, feed-forward; each followed by residual and norm (post-norm)."""

    def __init__(self, width: int, heads: int, intermediate: int, dropout: float, eps: float):
        super().__init__()
        self.dropout = dropout
        self.attention = Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.cross = Attention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, intermediate)
        self.output_norm = nn.LayerNorm(width, eps=eps)

    def start_from_scratch(self) -> None:
        """As `TextEncoder.start_from_scratch`: tokens start looking at themselves and their like, and branches are small beside the
        stream that they are added to."""
        with torch.no_grad():
            self.attention.key_value.weight[: self.attention.query.out_features] = self.attention.query.weight
            for branch in (self.attention.proj, self.cross.proj, self.mlp.fc2):
                branch.weight.mul_(SMALL_BRANCH)

    def own(self, x: Tensor, mask: Tensor | None, first: bool = False) -> Tensor:
        """The part that needs only its own stream, x [B, N, D] with mask [B, N]. first: for the first token alone, [B,
        1, D]."""
        query = x[:, :1] if first else x
        return self.attention_norm(query + self.attention(query, x, mask))

    def read(self, x: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """The rest: x [B, Q, D], what `own` returned, looks at the other stream [B, K, D] with mask [B, K]."""
        x = self.cross_norm(x + self.cross(x, other, mask))
        return self.output_norm(x + F.dropout(self.mlp(x), self.dropout, self.training))
