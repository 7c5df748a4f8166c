"""Grounding: at each place of a picture a box, how central the place is in it, and which tokens of the text name it.

What detection, phrase grounding and referring learn in common; `vlfuse.tasks.regions` puts it to use. Source: GLIP (Li
et al. 2022), FIBER section 3.2.

Shapes: N texts with one picture each, A places, T text tokens, M objects of the batch, P positive places, h, w grid.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.pyramid import FeaturePyramid
from vlfuse.layers.regions import RegionPredictor, RegionScores
from vlfuse.ops.anchors import anchors_of, assign
from vlfuse.ops.boxes import centerness, centres, decode, encode, giou
from vlfuse.ops.distributed import mean_count
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch, ConfigError, DataError, FusedMaps, Objects

BOX_WEIGHT = 2.0


class Grounding(Head):
    """A pyramid on the fused maps, a dynamic head, and for every place a box and the tokens that name it.

    width: of the pyramid, a multiple of 16. blocks: of the dynamic head. levels: of the pyramid, at least as many as
    the system has maps. anchor_scale: side of the anchors in strides. drop_block: share of the two finer maps dropped
    in training. published: quirks that published weights were trained with and need: boxes whose last pixel lies inside
    (those it learns from and those it finds), coarser levels looked at by misread offsets, padding taken for picture,
    and background that names the last token.
    """

    reads, needs = "grounding", ("boxes",)

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
        self.predictor = RegionPredictor(width, system.token_width, levels, blocks, published=published)

    def settings(self) -> dict[str, Any]:
        return self.given

    def anchors(self, grids: Sequence[tuple[int, int]], device: torch.device | str) -> list[Tensor]:
        """Per level [h * w, 4]."""
        return anchors_of(grids, self.strides, self.anchor_scale, device, self.pixel)

    def scores(self, fused: FusedMaps, sizes: Tensor) -> RegionScores:
        """fused: of N pairs, sizes [N, 2] the true (height, width) of their pictures."""
        maps = [norm(x.movedim(1, -1)).movedim(-1, 1) for x, norm in zip(fused.maps, self.norms, strict=True)]
        valid = () if self.published else self._valid(maps[0].shape[-2:], sizes)
        return self.predictor(self.pyramid(maps, valid), fused.text, fused.mask, valid)

    def _valid(self, grid: Sequence[int], sizes: Tensor) -> list[Tensor | None]:
        """What is picture on every level, [N, 1, h, w] of 0 and 1; nothing when no level has padding. grid:
        of the finest."""
        rows, columns, valid = grid[0], grid[1], []
        for stride in self.strides:
            extent = -(-sizes // stride)
            y = torch.arange(rows, device=sizes.device) < extent[:, :1]
            x = torch.arange(columns, device=sizes.device) < extent[:, 1:]
            valid.append((y[:, None, :, None] & x[:, None, None, :]).float())
            rows, columns = -(-rows // 2), -(-columns // 2)
        return valid if any(bool((v == 0).any()) for v in valid) else []

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


def token_focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017, equation 5) of every logit against its target in {0, 1}; shapes are alike."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (target - logits.sigmoid()).abs()
    return loss * wrong**gamma * (alpha * target + (1 - alpha) * (1 - target))


def box_loss(boxes: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum of weight x (1 - GIoU): [P, 4], [P, 4], [P] -> []."""
    return (weight * (1 - giou(boxes, target))).sum()


def region_targets(
    objects: Objects, count: int, levels: Sequence[Tensor], tokens: int, pixel: float, background: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What every place of `count` pictures learns: the row of `objects` or -1 [N, A], and [N, A, T] in {0,
    1} the tokens that name it.

    background: quirk of the published detector, places without object name the last token.
    """
    rows = []
    for text in range(count):
        own = (objects.text == text).nonzero().squeeze(1)
        found = assign(levels, objects.boxes[own], pixel=pixel)
        rows.append(torch.where(found >= 0, own[found] if len(own) else found, -1))
    row = torch.stack(rows)
    names = row.new_zeros((*row.shape, tokens), dtype=torch.float)
    named = objects.positive[:, :tokens] > 0  # as wide as texts can be, or as the longest was before it was padded
    names[..., : named.shape[1]][row >= 0] = named[row[row >= 0]].float()
    if background:
        names[..., -1] = torch.where(row >= 0, names[..., -1], 1.0)
    return row, names, row >= 0


def region_losses(
    scores: RegionScores, levels: Sequence[Tensor], objects: Objects, mask: Tensor, pixel: float, background: bool
) -> dict[str, Tensor]:
    """The three losses, "box", "centerness" and "tokens", each [] with gradient, whose sum is learnt;
    levels are the anchors.

    mask [N, T]: real tokens. pixel: see `vlfuse.ops.boxes`. Each is a mean over the positive places of all processes,
    the box loss weighted by how central a place is. Without any object only the tokens' loss is not zero.
    """
    row, names, positive = region_targets(objects, len(mask), levels, mask.shape[1], pixel, background)
    anchors = torch.cat(list(levels)).expand(len(mask), -1, -1)[positive]
    boxes, points = objects.boxes[row[positive]], centres(anchors)
    # The published target of the box loss is the box as its code gives it back: the same but for rounding and the cap.
    boxes = decode(encode(boxes, anchors, pixel), anchors, pixel)
    central = centerness(points, boxes)
    number, weight = mean_count(positive.sum()).clamp(min=1), mean_count(central.sum())
    focal = token_focal(scores.tokens, names) * mask[:, None]
    predicted = decode(scores.codes[positive], anchors, pixel)
    return {
        "box": BOX_WEIGHT * box_loss(predicted, boxes, central) / weight.clamp(min=1e-6),
        "centerness": F.binary_cross_entropy_with_logits(scores.centerness[positive], central, reduction="sum")
        / number,
        "tokens": focal.sum() / number,
    }
