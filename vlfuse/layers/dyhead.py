"""Dynamic head (Dai et al. 2021): attention over the levels, the places and the channels of a pyramid.

Shapes: B batch, W width, h, w grid of a level, L levels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.ops.deform import deform_conv2d

TAPS = 9
GROUPS = 16  # of the normalisation


class DeformConv(nn.Module):
    """A 3 x 3 modulated deformable convolution with group normalisation."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-5)
        bound = (width * TAPS) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """In full precision also under autocast: places are numbers of pixels, and half a precision is half a pixel."""
        with torch.autocast(x.device.type, enabled=False):
            y = deform_conv2d(x.float(), offset.float(), mask.float(), self.weight, self.bias, self.stride)
        return self.norm(y)


class DynamicRelu(nn.Module):
    """The greater of two lines per channel, which the picture as a whole chooses (Chen et al. 2020): task-aware attention."""

    def __init__(self, width: int, reduction: int = 4):
        super().__init__()
        self.fc1 = nn.Linear(width, width // reduction)
        self.fc2 = nn.Linear(width // reduction, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, W, h, w] -> the same. The lines start near y = x and y = 0 (slopes 1 and 0)."""
        theta = F.hardsigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3)))))) - 0.5
        slope1, shift1, slope2, shift2 = theta[..., None, None].chunk(4, dim=1)
        return torch.maximum(x * (2 * slope1 + 1) + shift1, x * 2 * slope2 + shift2)


class DynamicBlock(nn.Module):
    """One round of the three attentions; every level looks at itself and its neighbours.

    misread: quirk of the published head. The places to look at on the coarser level are read from the finer level's offsets
    as if these had the coarser level's shape; soundly they are the offsets scaled down to it.
    """

    def __init__(self, width: int, misread: bool = False):
        super().__init__()
        self.misread = misread
        self.offset = nn.Conv2d(width, 3 * TAPS, 3, padding=1)
        self.coarser, self.same, self.finer = DeformConv(width, 1), DeformConv(width, 1), DeformConv(width, 2)
        self.scale = nn.Conv2d(width, 1, 1)
        self.relu = DynamicRelu(width)
        nn.init.normal_(self.scale.weight, std=0.01)
        nn.init.zeros_(self.scale.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels [B, W, h, w], finest first -> the same."""
        return [self.relu(self._level(levels, i)) for i in range(len(levels))]

    def _level(self, levels: Sequence[Tensor], i: int) -> Tensor:
        offset, mask = self.offset(levels[i]).split([2 * TAPS, TAPS], dim=1)
        mask = mask.sigmoid()
        views = [self.same(levels[i], offset, mask)]
        if i > 0:
            views.append(self.finer(levels[i - 1], offset, mask))
        if i + 1 < len(levels):
            coarser, size = levels[i + 1], levels[i + 1].shape[-2:]
            fit = misread_as if self.misread else resized
            view = self.coarser(coarser, fit(offset, size), fit(mask, size))
            views.append(F.interpolate(view, size=levels[i].shape[-2:], mode="bilinear", align_corners=True))
        return sum(view * self.weight(view) for view in views) / len(views)  # type: ignore[return-value]

    def weight(self, view: Tensor) -> Tensor:
        """Scale-aware attention: how much a view counts, [B, 1, 1, 1] in [0, 1]."""
        return F.hardsigmoid(F.relu(self.scale(view.mean((2, 3), keepdim=True))))


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Offsets stay in pixels of the map they point into."""
    return F.adaptive_avg_pool2d(x, tuple(size))


def misread_as(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first values of every picture's flat [c, h, w] as if they were [c, *size]."""
    B, c = x.shape[:2]
    return x.flatten(1)[:, : c * size[0] * size[1]].view(B, c, *size)
