"""Dynamic head (Dai et al. 2021): attention over the levels, the places and the channels of a pyramid.

Shapes: B batch, W width, h, w grid of a level.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.pyramid import only_valid
from vlfuse.ops.deform import deform_conv2d

TAPS = 9
GROUPS = 16  # of the normalisation
Valid = Tensor | None  # [B, 1, h, w] float, 1 where a level is picture and 0 where it is padding; None: no padding


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

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor, valid: Valid = None) -> Tensor:
        """valid: of the output. In full precision also under autocast: offsets are pixels,
        which half precision blurs."""
        with torch.autocast(x.device.type, enabled=False):
            y = deform_conv2d(x.float(), offset.float(), mask.float(), self.weight, self.bias, self.stride)
            return self.norm(y) if valid is None else norm_valid(y, valid, self.norm)


class DynamicRelu(nn.Module):
    """The greater of two lines per channel, which the picture as a whole chooses (Chen et al. 2020):
    task-aware attention."""

    def __init__(self, width: int, reduction: int = 4):
        super().__init__()
        self.fc1 = nn.Linear(width, width // reduction)
        self.fc2 = nn.Linear(width // reduction, 4 * width)

    def forward(self, x: Tensor, valid: Valid = None) -> Tensor:
        """[B, W, h, w] -> the same. The lines start near y = x and y = 0."""
        theta = F.hardsigmoid(self.fc2(F.relu(self.fc1(mean_valid(x, valid))))) - 0.5
        slope1, shift1, slope2, shift2 = theta[..., None, None].chunk(4, dim=1)
        return torch.maximum(x * (2 * slope1 + 1) + shift1, x * 2 * slope2 + shift2)


class DynamicBlock(nn.Module):
    """One round of the three attentions; every level looks at itself and its neighbours.

    published: quirks of the published head. The places to look at on the coarser level are read from the finer level's
    offsets as if these had the coarser level's shape, where soundly they are means of the offsets; what is seen there
    is stretched corner to corner, which shifts it against the level; and padding counts as picture.
    """

    def __init__(self, width: int, published: bool = False):
        super().__init__()
        self.published = published
        self.offset = nn.Conv2d(width, 3 * TAPS, 3, padding=1)
        self.coarser, self.same, self.finer = DeformConv(width, 1), DeformConv(width, 1), DeformConv(width, 2)
        self.scale = nn.Conv2d(width, 1, 1)
        self.relu = DynamicRelu(width)
        nn.init.normal_(self.scale.weight, std=0.01)
        nn.init.zeros_(self.scale.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Valid] = ()) -> list[Tensor]:
        """Levels [B, W, h, w], finest first, zero where they are not valid -> the same."""
        valid = valid or [None] * len(levels)
        return [only_valid(self.relu(self._level(levels, valid, i), valid[i]), valid[i]) for i in range(len(levels))]

    def _level(self, levels: Sequence[Tensor], valid: Sequence[Valid], i: int) -> Tensor:
        offset, mask = self.offset(levels[i]).split([2 * TAPS, TAPS], dim=1)
        mask = mask.sigmoid()
        views = [self.same(levels[i], offset, mask, valid[i])]
        if i > 0:
            views.append(self.finer(levels[i - 1], offset, mask, valid[i]))
        if i + 1 < len(levels):
            views.append(self._from_coarser(levels[i + 1], offset, mask, valid[i], valid[i + 1]))
        return sum(view * self.weight(view, valid[i]) for view in views) / len(views)  # type: ignore[return-value]

    def _from_coarser(
        self, coarser: Tensor, offset: Tensor, mask: Tensor, valid: Valid, valid_coarser: Valid
    ) -> Tensor:
        size = (coarser.shape[2], coarser.shape[3])
        if self.published:
            view = self.coarser(coarser, misread_as(offset, size), misread_as(mask, size))
            return F.interpolate(view, size=offset.shape[-2:], mode="bilinear", align_corners=True)
        view = self.coarser(coarser, halved(offset, valid), halved(mask, valid), valid_coarser)
        return doubled(view, valid_coarser)[..., : offset.shape[2], : offset.shape[3]]

    def weight(self, view: Tensor, valid: Valid = None) -> Tensor:
        """Scale-aware attention: how much a view counts, [B, 1, 1, 1] in [0, 1]."""
        return F.hardsigmoid(F.relu(self.scale(mean_valid(view, valid)[..., None, None])))


def misread_as(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first values of every picture's flat [c, h, w] as if they were [c, *size]."""
    B, c = x.shape[:2]
    return x.flatten(1)[:, : c * size[0] * size[1]].view(B, c, *size)


def mean_valid(x: Tensor, valid: Valid) -> Tensor:
    """Mean over what is picture: [B, W, h, w] -> [B, W]."""
    return x.mean((2, 3)) if valid is None else (x * valid).sum((2, 3)) / valid.sum((2, 3))


def norm_valid(x: Tensor, valid: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group normalisation whose mean and variance are those of what is picture."""
    grouped = x.unflatten(1, (norm.num_groups, -1))  # [B, G, W / G, h, w]
    inside = valid[:, None] / (valid.sum((2, 3))[:, None, :, None, None] * grouped.shape[2])
    mean = (grouped * inside).sum((2, 3, 4), keepdim=True)
    variance = ((grouped - mean).square() * inside).sum((2, 3, 4), keepdim=True)
    normal = ((grouped - mean) * (variance + norm.eps).rsqrt()).flatten(1, 2)
    return normal * norm.weight[:, None, None] + norm.bias[:, None, None]


def halved(x: Tensor, valid: Valid) -> Tensor:
    """Means of 2 x 2 places, of what is picture: [B, c, h, w] -> [B, c, ceil(h / 2), ceil(w / 2)]."""

    def pool(y: Tensor) -> Tensor:
        return F.avg_pool2d(y, 2, ceil_mode=True, count_include_pad=False)

    return pool(x) if valid is None else pool(x * valid) / pool(valid).clamp(min=0.25)


def doubled(x: Tensor, valid: Valid) -> Tensor:
    """Twice as large, between what is picture: [B, c, h, w] -> [B, c, 2h, 2w]."""

    def stretch(y: Tensor) -> Tensor:
        return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)

    return stretch(x) if valid is None else stretch(x * valid) / stretch(valid).clamp(min=0.0625)
