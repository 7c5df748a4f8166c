"""Tables of relative positions at another window size.

Shapes: R = (2 window - 1)^2 rows, H heads.
"""

from math import isqrt

import torch.nn.functional as F
from torch import Tensor

from vlfuse.types import CheckpointError


def table_window(table: Tensor) -> int:
    """The window of a bias table [R, H]. Raises CheckpointError when R is not the square of an odd number."""
    side = isqrt(len(table)) if table.ndim == 2 else 0
    if side * side != len(table) or side % 2 == 0:
        raise CheckpointError(
            f"a bias table has shape {list(table.shape)}; it must be [(2 window - 1)^2, heads], as [529, 4] for window 12"
        )
    return (side + 1) // 2


def resize_bias_table(table: Tensor, window: int) -> Tensor:
    """[R, H] -> [(2 window - 1)^2, H], bicubic over the two offsets; the table itself when the window is its own.

    Published arithmetic: align_corners off, no antialiasing, values not rescaled.
    """
    before = table_window(table)
    if before == window:
        return table
    side = 2 * before - 1
    grid = table.float().T.reshape(1, -1, side, side)
    size = (2 * window - 1, 2 * window - 1)
    resized = F.interpolate(grid, size=size, mode="bicubic", align_corners=False)
    return resized.flatten(2)[0].T.contiguous().to(table.dtype)
