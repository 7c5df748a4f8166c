"""Feature pyramid (Lin et al. 2017) with coarser levels on top and block-wise dropout (Ghiasi et al. 2018).

Shapes: B batch, C_l channels of level l, W pyramid width, h, w grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 3  # side of what drop-block drops


class FeaturePyramid(nn.Module):
    """channels: of the maps that come in, finest first. levels: how many go out, the maps that come in and then coarser ones.

    drop_block: share of the map dropped in training, in blocks of 3 x 3, before the last convolution of every level but the
    coarsest that came in.
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

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [B, C_l, h, w], finest first, each half the size of the one before -> levels [B, W, h, w]."""
        merged = self.lateral[-1](maps[-1])
        levels = [self.output[-1](merged)]
        for i in reversed(range(len(maps) - 1)):
            lateral = self.lateral[i](maps[i])
            merged = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            levels.insert(0, self.output[i](self._drop(merged)))
        for i, layer in enumerate(self.extra):
            levels.append(layer(F.relu(levels[-1]) if i else levels[-1]))
        return levels

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_block:
            return x
        draws = torch.rand(x.shape[0], *x.shape[2:], device=x.device)
        return drop_blocks(x, draws, self.drop_block)


def drop_blocks(x: Tensor, draws: Tensor, rate: float) -> Tensor:
    """Zero blocks of x [B, W, h, w] around the places where draws [B, h, w] in [0, 1) fall below rate / 9; rescale the rest."""
    seeds = (draws < rate / BLOCK**2).to(x.dtype)[:, None]
    keep = 1 - F.max_pool2d(seeds, BLOCK, stride=1, padding=BLOCK // 2)
    return x * keep * (keep.numel() / keep.sum())
