"""FIBER's maps for regions: the two backbones fused as ever, the ends of the last stages kept (paper section 3.2,
fine-grained stage).

Shapes: N pairs, I image tokens, C image width, D text width, h, w grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from vlfuse.ops.windows import Size
from vlfuse.types import FusedMaps, Images, ImageState, TextState

if TYPE_CHECKING:
    from vlfuse.systems.fiber import Fiber

STAGES = 3  # whose ends become maps; one more would quadruple the places


def widths_and_strides(system: Fiber) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the maps, finest first."""
    swin = system.config.swin
    stages = range(max(0, len(swin.depths) - STAGES), len(swin.depths))
    return tuple(swin.width(stage) for stage in stages), tuple(swin.patch * 2**stage for stage in stages)


def encode_maps(system: Fiber, images: Images) -> ImageState:
    """Swin up to the first fused block, with the ends of the stages on the way."""
    pixels, swin = images.pixels, system.config.swin
    if swin.attend_padding:  # published: padding is picture, so that no stage has to pad
        whole = swin.patch * 2 ** (len(swin.depths) - 1)
        pixels = F.pad(pixels, (0, -pixels.shape[3] % whole, 0, -pixels.shape[2] % whole))
    x, grid, valid = system.image.embed(pixels, images.sizes)
    finer = []
    for number in range(system.pairs[0][0]):
        x = system.image.block(number, x, grid, valid)
        if _becomes_map(system, number):
            finer.append(ImageState(x, grid, valid))
        x, grid, valid = system.image.after(number, x, grid, valid)
    return ImageState(x, grid, valid, tuple(finer))


def fuse_maps(system: Fiber, image: ImageState, text: TextState) -> FusedMaps:
    """Run the fused top as `Fiber.fuse` does. Here the last text layer keeps its norm; the maps go without."""
    x, grid, valid = image.tokens, image.grid, image.valid
    y = text.tokens
    maps = [_as_map(state.tokens, state.grid) for state in image.finer]
    for image_block, text_layer in system.pairs:
        fused_x = system.image.block(image_block, x, grid, valid, y, text.mask)
        y = system.text.layer(text_layer, y, text.mask, x, valid)
        if _becomes_map(system, image_block):
            maps.append(_as_map(fused_x, grid))
        x, grid, valid = system.image.after(image_block, fused_x, grid, valid)
    return FusedMaps(tuple(maps), y, text.mask)


def _becomes_map(system: Fiber, number: int) -> bool:
    depths = system.config.swin.depths
    stage, block = system.config.swin.blocks[number]
    return stage >= len(depths) - STAGES and block == depths[stage] - 1


def _as_map(tokens: Tensor, grid: Size) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, grid)
