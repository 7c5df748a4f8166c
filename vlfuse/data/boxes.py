"""Boxes as they come, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vlfuse.types import Box

NOT_NUMBERS = "box that is not four finite numbers"
SWAPPED = "box with swapped corners"
NO_AREA = "box without area"
OUTSIDE = "box outside the picture"
CUT = "box cut at the border of the picture"


def tidy(box: Any, width: float = math.inf, height: float = math.inf) -> tuple[Box | None, str]:
    """([x0, y0, x1, y1] within the picture, what was wrong with it), of anything that claims to be a box.

    The box is None where none is left, and the trouble empty where there is none. Never raises.
    """
    if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != 4:
        return None, NOT_NUMBERS
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in box):
        return None, NOT_NUMBERS
    # Three decimals: finer than any annotation, and free of the tails that adding leaves.
    x0, y0, x1, y1 = (round(float(n), 3) for n in box)
    if x1 < x0 or y1 < y0:
        return None, SWAPPED
    if x1 == x0 or y1 == y0:
        return None, NO_AREA
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if cut[2] <= cut[0] or cut[3] <= cut[1]:
        return None, OUTSIDE
    return cut, "" if cut == (x0, y0, x1, y1) else CUT


def from_size(bbox: Any) -> Any:
    """[x, y, width, height] -> [x0, y0, x1, y1]; what is not four numbers is left for `tidy` to name."""
    if not isinstance(bbox, Sequence) or len(bbox) != 4 or not all(isinstance(n, int | float) for n in bbox):
        return bbox
    x, y, width, height = bbox
    return (x, y, x + width, y + height)
