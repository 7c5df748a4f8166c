"""Feature pyramid (Lin et al. 2017) with coarser levels on top and block-wise dropout (Ghiasi et al. 2018).

Shapes: B batch, C_l channels of level l, W pyramid width, h, w grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 3  # side of what drop-block drops


class FeaturePyramid(nn.Module):
    """channels: of the maps that come in, finest first. levels: how many go out,
    the maps that come in and then coarser ones.

    drop_block: share of the map dropped in training, in blocks of 3 x 3, before the last convolution of every level but
    the coarsest that came in.
    """

    def __init__(self, channels: Sequence[int], width: int, levels: int, drop_block: float = 0.0):
        super().__init__()
        self.drop_block = drop_block
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.extra = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(levels - len(channels))
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor], valid: Sequence[Tensor | None] = ()) -> list[Tensor]:
        """Maps [B, C_l, h, w], finest first, each half the size of the one before -> levels [B, W, h, w].

        valid: for every level that goes out [B, 1, h, w], 1 where it is picture and 0 where it is padding; None or
        nothing where there is no padding.
        """
        valid = valid or [None] * (len(maps) + len(self.extra))
        last = len(maps) - 1
        merged = only_valid(self.lateral[last](maps[last]), valid[last])
        levels = [self.output[last](merged)]
        for i in reversed(range(last)):
            lateral = self.lateral[i](maps[i])
            finer = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            merged = only_valid(finer, valid[i])
            levels.insert(0, self.output[i](self._drop(merged)))
        levels = [only_valid(x, v) for x, v in zip(levels, valid, strict=False)]
        for i, layer in enumerate(self.extra):
            levels.append(only_valid(layer(F.relu(levels[-1]) if i else levels[-1]), valid[last + 1 + i]))
        return levels

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_block:
            return x
        draws = torch.rand(x.shape[0], *x.shape[2:], device=x.device)
        return drop_blocks(x, draws, self.drop_block)


def only_valid(x: Tensor, valid: Tensor | None) -> Tensor:
    """x [B, W, h, w], zero where it is padding."""
    return x if valid is None else x * valid


def drop_blocks(x: Tensor, draws: Tensor, rate: float) -> Tensor:
    """Zero blocks of x [B, W, h, w] around the places where draws [B, h, w] in [0, 1) fall below rate / 9;
    rescale the rest."""
    seeds = (draws < rate / BLOCK**2).to(x.dtype)[:, None]
    keep = 1 - F.max_pool2d(seeds, BLOCK, stride=1, padding=BLOCK // 2)
    return x * keep * (keep.numel() / keep.sum())
