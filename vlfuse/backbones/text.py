"""BERT-style post-norm text encoder (RoBERTa, Liu et al. 2019) whose layers can look at an image.

Shapes: N texts, T tokens, D width, H heads, I image tokens, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlfuse.layers.cache import KeyValueCache
from vlfuse.layers.linear import Linear
from vlfuse.layers.mlp import MLP, SMALL_BRANCH, init_normal
from vlfuse.types import ConfigError


@dataclass(frozen=True)
class TextConfig:
    """Defaults: RoBERTa-base."""

    vocab_size: int = 50265
    width: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    positions: int = 514  # rows of the position table; the first pad_id + 1 are never used by real tokens
    pad_id: int = 1
    norm_eps: float = 1e-5
    dropout: float = 0.1

    def __post_init__(self):
        if self.width % self.heads:
            raise ConfigError(f"text.width {self.width} is not a multiple of text.heads {self.heads}")

    @property
    def max_tokens(self) -> int:
        return self.positions - self.pad_id - 1


class TextEmbeddings(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.word = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Embedding(config.positions, config.width)
        self.token_type = nn.Embedding(1, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, ids: Tensor, before: int = 0) -> Tensor:
        """[N, T] ids -> [N, T, D]. Positions count real tokens from pad_id + 1, after `before` earlier ones; padding gets pad_id."""
        if before + ids.shape[1] > self.config.max_tokens:
            raise ConfigError(
                f"a text of {before + ids.shape[1]} tokens exceeds the {self.config.max_tokens} positions of this model; lower max_text"
            )
        real = (ids != self.config.pad_id).long()
        positions = (real.cumsum(1) + before) * real + self.config.pad_id
        x = self.word(ids) + self.token_type.weight[0] + self.position(positions)
        return F.dropout(self.norm(x), self.config.dropout, self.training)


class TextAttention(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = Linear(config.width, 3 * config.width)
        self.proj = Linear(config.width, config.width)

    def forward(self, x: Tensor, visible: Tensor | None, past: KeyValueCache | None = None) -> Tensor:
        """x [N, T, D]; visible, broadcastable to [N, H, T, T] bool, is True where a query sees a key (None: everywhere).

        past: keys and values of earlier tokens, which these see too and are added to.
        """
        N, T, D = x.shape
        query, key, value = self.qkv(x).view(N, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = past.extend(key, value)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return F.dropout(self.proj(y.transpose(1, 2).reshape(N, T, D)), self.dropout, self.training)


class TextLayer(nn.Module):
    def __init__(self, config: TextConfig, cross: nn.Module | None = None):
        super().__init__()
        self.dropout = config.dropout
        self.attention = TextAttention(config)
        self.cross = cross
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config.width, config.intermediate)
        self.output_norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None,
        image: Tensor | tuple[Tensor, Tensor] | None = None,
        image_mask: Tensor | None = None,
        final_norm: bool = True,
        past: KeyValueCache | None = None,
    ) -> Tensor:
        """x [N, T, D]; image [N, I, C] (mask [N, I], None: all real) or its keys and values switch the fusion on.

        `final_norm=False` leaves the output un-normalised. past: of the self-attention, where a text is written word by word.

        As on the image side, the fusion corrects the self-attention output before norm and residual.
        """
        a = self.attention(x, visible, past)
        if image is not None and self.cross is not None:
            a = a + self.cross(a, image, image_mask)
        x = self.attention_norm(a + x)
        y = F.dropout(self.mlp(x), self.dropout, self.training) + x
        return self.output_norm(y) if final_norm else y


class TextEncoder(nn.Module):
    """Embeddings and a list of layers that a system runs one by one. cross: fusion modules by layer number."""

    def __init__(self, config: TextConfig, cross: Mapping[int, nn.Module] | None = None):
        super().__init__()
        self.config = config
        self.recompute = False  # activation checkpointing, set from outside
        self.embeddings = TextEmbeddings(config)
        self.layers = nn.ModuleList(TextLayer(config, (cross or {}).get(i)) for i in range(config.layers))
        self.apply(init_normal)
        with torch.no_grad():
            self.embeddings.word.weight[config.pad_id].zero_()
            self.embeddings.position.weight[config.pad_id].zero_()

    def start_from_scratch(self) -> None:
        """How a small encoder starts that no one has trained before. By measurement, each is worth most of the training time:

        A token looks at itself and its neighbours: queries equal keys, so that a token is most like itself (Trockman & Kolter 2023,
        "Mimetic initialization of self-attention layers"), and positions are sinusoids (Vaswani et al. 2017), so that near ones are
        alike. The fusion asks the image with the attention's output, which from random weights is the same for all tokens.

        Branches are small beside the stream they are added to: with a norm after every addition, each layer otherwise
        overwrites half of what the layers before it have read from the image (Wang et al. 2022, "DeepNet").
        """
        width, rows = self.config.width, self.config.positions
        waves = 2 * math.pi / torch.logspace(math.log10(6), math.log10(200), width // 2)  # periods of 6 to 200 tokens
        angles = torch.arange(rows)[:, None] * waves
        with torch.no_grad():
            self.embeddings.word.weight.normal_()
            self.embeddings.word.weight[self.config.pad_id].zero_()
            self.embeddings.position.weight.copy_(torch.cat([angles.sin(), angles.cos()], dim=1) * 2**0.5)
            for layer in self.layers:
                weight = layer.attention.qkv.weight  # type: ignore[union-attr]
                weight[width : 2 * width] = weight[:width]  # type: ignore[index]
                crosses = () if layer.cross is None else (layer.cross.proj,)  # type: ignore[union-attr]
                for branch in (layer.attention.proj, layer.mlp.fc2, *crosses):  # type: ignore[union-attr]
                    branch.weight.mul_(SMALL_BRANCH)  # type: ignore[union-attr]

    def layer(self, number: int, x: Tensor, mask: Tensor, *image: Tensor | None, final_norm: bool = True) -> Tensor:
        """Run layer `number` on x [N, T, D] with mask [N, T] bool; image = (states [N, I, C], mask) or nothing."""
        layer, visible = self.layers[number], mask[:, None, None, :]
        states, image_mask = image or (None, None)
        if self.recompute and self.training:
            return checkpoint(layer, x, visible, states, image_mask, final_norm, use_reentrant=False)  # type: ignore[return-value]
        return layer(x, visible, states, image_mask, final_norm)
