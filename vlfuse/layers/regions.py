"""From a pyramid and a text to boxes: at each place a box, how central the place is in it, and which tokens name it.

Shapes: N pairs, A places of all levels, T text tokens, W width, D text width, h, w grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlfuse.layers.dyhead import DynamicBlock
from vlfuse.types import Rows

RARE = -math.log(99)  # the logit of 1 %: at first nothing is named anywhere
LIMIT = 50_000.0  # of a logit


@dataclass(frozen=True)
class RegionScores(Rows):
    """codes [N, A, 4] as `vlfuse.ops.boxes.encode` makes them, centerness [N, A] and tokens [N, A, T] logits, in full
    precision; places level by level, finest first, row by row. grids: (rows, columns) of each level."""

    codes: Tensor
    centerness: Tensor
    tokens: Tensor
    grids: tuple[tuple[int, int], ...]


class TokenAlignment(nn.Module):
    """How well a place and a token fit: the inner product of the two, and a bias that the token brings (GLIP,
    Li et al. 2022)."""

    def __init__(self, width: int, text_width: int):
        super().__init__()
        self.project = nn.Linear(text_width, width)
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.token_bias = nn.Parameter(torch.zeros(text_width))
        self.bias = nn.Parameter(torch.full((1,), RARE))

    def forward(self, places: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """places [N, A, W], text [N, T, D], mask [N, T] -> logits [N, A, T]. Padding brings the bias alone."""
        text = F.normalize(text * mask[..., None], dim=-1)
        keys = self.project(text / 2)
        logits = places @ keys.transpose(1, 2) / self.log_scale.exp()
        return (logits + (text @ self.token_bias + self.bias)[:, None]).clamp(-LIMIT, LIMIT)


class RegionPredictor(nn.Module):
    def __init__(self, width: int, text_width: int, levels: int, blocks: int, published: bool = False):
        """published: see `DynamicBlock`."""
        super().__init__()
        self.recompute = False  # activation checkpointing, set from outside
        self.tower = nn.ModuleList(DynamicBlock(width, published) for _ in range(blocks))
        self.box = nn.Conv2d(width, 4, 1)
        self.centerness = nn.Conv2d(width, 1, 1)
        self.scales = nn.Parameter(torch.ones(levels))  # of the box codes of each level
        self.align = TokenAlignment(width, text_width)
        for layer in (self.box, self.centerness, self.align.project):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(
        self, levels: Sequence[Tensor], text: Tensor, mask: Tensor, valid: Sequence[Tensor | None] = ()
    ) -> RegionScores:
        """Levels [N, W, h, w], finest first; text [N, T, D] with mask [N, T]; valid: as for `FeaturePyramid`."""
        for block in self.tower:
            if self.recompute and self.training:
                levels = checkpoint(block, levels, valid, use_reentrant=False)  # type: ignore[assignment]
            else:
                levels = block(levels, valid)
        codes = torch.cat([flat(self.box(x)) * scale for x, scale in zip(levels, self.scales, strict=True)], dim=1)
        centerness = torch.cat([flat(self.centerness(x)) for x in levels], dim=1).squeeze(-1)
        tokens = self.align(torch.cat([flat(x) for x in levels], dim=1), text, mask)
        grids = tuple((x.shape[2], x.shape[3]) for x in levels)
        return RegionScores(codes.float(), centerness.float(), tokens.float(), grids)


def flat(x: Tensor) -> Tensor:
    """[N, W, h, w] -> [N, h * w, W]."""
    return x.flatten(2).transpose(1, 2)
