"""Windows over a token grid: partition, merge, masks and relative positions (Swin Transformer, Liu et al. 2021).

Shapes: B batch, h, w grid, n tokens of a window, W windows, C width.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def padded_size(grid: Size, window: Size) -> Size:
    """The smallest multiple of `window` that holds `grid`."""
    return (-(-grid[0] // window[0]) * window[0], -(-grid[1] // window[1]) * window[1])


def partition(x: Tensor, window: Size, shift: Size) -> Tensor:
    """[B, h, w, C] -> [B, W, n, C]: zero-pad at the bottom and right, roll by -shift, cut row by row."""
    B, h, w, C = x.shape
    H, W = padded_size((h, w), window)
    if (h, w) != (H, W):
        x = F.pad(x, (0, 0, 0, W - w, 0, H - h))
    if shift != (0, 0):
        x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
    x = x.view(B, H // window[0], window[0], W // window[1], window[1], C)
    return x.transpose(2, 3).reshape(B, -1, window[0] * window[1], C)


def merge(windows: Tensor, grid: Size, window: Size, shift: Size) -> Tensor:
    """Undo `partition`: [B, W, n, C] -> [B, h, w, C] for grid (h, w)."""
    B, C = len(windows), windows.shape[-1]
    H, W = padded_size(grid, window)
    x = windows.view(B, H // window[0], W // window[1], window[0], window[1], C).transpose(2, 3).reshape(B, H, W, C)
    if shift != (0, 0):
        x = torch.roll(x, shift, dims=(1, 2))
    return x[:, : grid[0], : grid[1]] if grid != (H, W) else x


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept here must serve a later training step as well
def relative_index(window: Size, table_window: int, device: torch.device) -> Tensor:
    """Row of a ((2 table_window - 1)^2)-row table for every pair of window positions: [n, n] int64.

    A window smaller than the table's uses the rows around its centre, so that one table serves any grid.
    """
    rows, columns = torch.meshgrid(torch.arange(window[0]), torch.arange(window[1]), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    row_offset = rows[:, None] - rows[None, :] + table_window - 1
    column_offset = columns[:, None] - columns[None, :] + table_window - 1
    return (row_offset * (2 * table_window - 1) + column_offset).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept here must serve a later training step as well
def region_mask(grid: Size, window: Size, shift: Size, device: torch.device, attend_padding: bool) -> Tensor | None:
    """[1, W, n, n] bool, True where a query may see a key; None when everything is visible.

    After the roll a window holds tokens that are not neighbours in the picture; they must not see each other.
    Zero-padding is a region of its own unless `attend_padding` (the reference's detection backbone looks at it).
    """
    H, W = padded_size(grid, window)
    padded = grid != (H, W) and not attend_padding
    if shift == (0, 0) and not padded:
        return None
    region = torch.zeros(1, H, W, 1, dtype=torch.int64)
    if shift[0]:
        region[:, H - window[0] : H - shift[0]] += 1
        region[:, H - shift[0] :] += 2
    if shift[1]:
        region[:, :, W - window[1] : W - shift[1]] += 3
        region[:, :, W - shift[1] :] += 6
    if padded:
        outside = torch.zeros(1, H, W, 1, dtype=torch.int64)
        outside[:, grid[0] :] = 9
        outside[:, :, grid[1] :] = 9
        region += torch.roll(outside, (-shift[0], -shift[1]), dims=(1, 2))
    cut = partition(region, window, (0, 0)).squeeze(-1)
    return (cut[:, :, :, None] == cut[:, :, None, :]).to(device)


def valid_mask(valid: Tensor, grid: Size, window: Size, shift: Size) -> Tensor:
    """Visibility of the real tokens of pictures of unlike size: valid [B, h*w] bool -> [B, W, n, n] bool.

    Padding sees itself, so that no row of the softmax is empty.
    """
    cut = partition(valid.view(-1, *grid, 1).to(torch.uint8), window, shift).squeeze(-1)
    return cut[:, :, :, None] == cut[:, :, None, :]
