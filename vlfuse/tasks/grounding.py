"""Boxes for words: the head that detection, phrase grounding and referring share (FIBER section 3.2, GLIP, Li et al. 2022).

Shapes: N texts with one picture each, A places, T text tokens, L labels of one text.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlfuse.layers.pyramid import FeaturePyramid
from vlfuse.layers.regions import RegionPredictor, RegionScores
from vlfuse.objectives.grounding import region_losses
from vlfuse.ops.anchors import anchors_of
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.tasks.regions import DETECT, Keep, Regions, find_regions
from vlfuse.types import Batch, ConfigError, DataError, FusedMaps, ImageState, TextState


class Grounding(Head):
    """A pyramid on the fused maps, a dynamic head, and for every place a box and the tokens that name it.

    width: of the pyramid, a multiple of 16. blocks: of the dynamic head. levels: of the pyramid, at least as many as the system
    has maps. anchor_scale: side of the anchors in strides. drop_block: share of the two finer maps dropped in training.
    published: quirks that published weights were trained with and need: boxes whose last pixel lies inside, coarser levels
    looked at by misread offsets, padding taken for picture, and background that names the last token.
    """

    reads = "grounding"

    def __init__(
        self,
        system: System,
        width: int = 256,
        blocks: int = 6,
        levels: int = 5,
        anchor_scale: float = 8.0,
        drop_block: float = 0.0,
        published: bool = False,
    ):
        super().__init__()
        maps = len(system.map_widths)
        if not maps:
            raise ConfigError(f"{type(system).__name__} has no maps for a grounding head; fiber has")
        if levels < maps or width % 16:
            raise ConfigError(
                f"grounding: levels is {levels} and width {width}; levels must be at least {maps}, width a multiple of 16"
            )
        self.given = {
            "width": width,
            "blocks": blocks,
            "levels": levels,
            "anchor_scale": anchor_scale,
            "drop_block": drop_block,
            "published": published,
        }
        self.strides = [*system.map_strides, *(system.map_strides[-1] * 2**i for i in range(1, levels - maps + 1))]
        self.anchor_scale, self.published = anchor_scale, published
        self.pixel = 1.0 if published else 0.0
        self.norms = nn.ModuleList(nn.LayerNorm(channels, eps=1e-5) for channels in system.map_widths)
        self.pyramid = FeaturePyramid(system.map_widths, width, levels, drop_block)
        self.predictor = RegionPredictor(width, system.token_width, levels, blocks, misread=published)

    def settings(self) -> dict[str, Any]:
        return self.given

    def anchors(self, grids: Sequence[tuple[int, int]], device: torch.device | str) -> list[Tensor]:
        """Per level [h * w, 4]."""
        return anchors_of(grids, self.strides, self.anchor_scale, device, self.pixel)

    def scores(self, fused: FusedMaps, sizes: Tensor) -> RegionScores:
        """fused: of N pairs, sizes [N, 2] the true (height, width) of their pictures."""
        maps = []
        for x, norm, stride in zip(fused.maps, self.norms, self.strides, strict=False):
            x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            if not self.published:
                x = x * _inside(x.shape[-2:], stride, sizes)
            maps.append(x)
        return self.predictor(self.pyramid(maps), fused.text, fused.mask)

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        """The sum of the losses for boxes, centerness and tokens, and each of them."""
        texts = texts_of(batch, self.reads)
        if texts.objects is None:
            raise DataError("the texts for grounding of this batch carry no objects; training needs their boxes")
        fused = system.fuse_maps(states.maps[texts.owner], states.text(self.reads))
        scores = self.scores(fused, batch.images.sizes[texts.owner])
        with torch.autocast(scores.codes.device.type, enabled=False):
            levels = self.anchors(scores.grids, scores.codes.device)
            losses = region_losses(scores, levels, texts.objects, texts.tokens.mask, self.pixel, self.published)
        return {"loss": torch.stack(list(losses.values())).sum(), **{k: v.detach() for k, v in losses.items()}}

    @torch.no_grad()
    def find(
        self,
        system: System,
        image: ImageState,
        sizes: Tensor,
        text: TextState,
        maps: Sequence[Tensor],
        keep: Keep = DETECT,
    ) -> list[Regions]:
        """The boxes of every label of N texts, each about the image of its row; see `find_regions`.

        image: a state of `encode_maps`; many prompts about one picture take `image[[0] * N]`. sizes [N, 2] true (height, width).
        """
        scores = self.scores(system.fuse_maps(image, text), sizes)
        levels = self.anchors(scores.grids, scores.codes.device)
        return find_regions(scores, levels, sizes, maps, keep, self.pixel, padding=self.published)


def _inside(grid: Sequence[int], stride: int, sizes: Tensor) -> Tensor:
    """[N, 1, h, w] bool: places whose centre lies in the picture."""
    y = (torch.arange(grid[0], device=sizes.device) + 0.5) * stride < sizes[:, :1]
    x = (torch.arange(grid[1], device=sizes.device) + 0.5) * stride < sizes[:, 1:]
    return (y[:, None, :, None]) & (x[:, None, None, :])
