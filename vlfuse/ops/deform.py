"""Modulated deformable convolution (Zhu et al. 2019, "Deformable ConvNets v2") in plain PyTorch.

Shapes: B batch, C channels in, D channels out, H, W input, h, w output, K taps of the kernel (9 for 3 x 3).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 1
) -> Tensor:
    """Convolution whose taps are moved and weighed for every output place.

    x [B, C, H, W]; offset [B, 2K, h, w] in input pixels, (dy, dx) of each tap in row-major order; mask [B, K, h, w];
    weight [D, C, kh, kw]; bias [D]. Samples are bilinear, zero outside. Returns [B, D, h, w].
    """
    B, C, H, W = x.shape
    kh, kw = weight.shape[-2:]
    h, w = offset.shape[-2:]
    moved = offset.view(B, kh * kw, 2, h, w)
    rows = torch.arange(h, device=x.device)[:, None] * stride - padding
    columns = torch.arange(w, device=x.device) * stride - padding
    tap_row = torch.arange(kh, device=x.device).repeat_interleave(kw)[:, None, None]
    tap_column = torch.arange(kw, device=x.device).repeat(kh)[:, None, None]
    # Pixel centres at ((g + 1) size - 1) / 2: the form of grid_sample that also holds for one row or column.
    gy = (2 * (moved[:, :, 0] + rows + tap_row) + 1) / H - 1
    gx = (2 * (moved[:, :, 1] + columns + tap_column) + 1) / W - 1
    grid = torch.stack([gx, gy], dim=-1).view(B, kh * kw * h, w, 2)
    # On a CPU a thread samples whole pictures; of fewer pictures than threads, parts of the channels count as pictures.
    parts = math.gcd(C, max(1, torch.get_num_threads() // B)) if x.device.type == "cpu" else 1
    split, grid = x.reshape(B * parts, C // parts, H, W), grid.repeat_interleave(parts, dim=0)
    samples = F.grid_sample(split, grid, padding_mode="zeros", align_corners=False).view(B, C, kh * kw, h * w)
    mask = mask.reshape(B, 1, kh * kw, h * w)
    samples = samples * mask if torch.is_grad_enabled() else samples.mul_(mask)
    y = weight.flatten(1) @ samples.flatten(1, 2)
    return (y if bias is None else y + bias[:, None]).view(B, -1, h, w)
