"""Region tagging: before any text is seen, every image token names the words of the object it lies on, and its box.

A lesson in seeing for models that start from nothing: looking a thing up by a description can only be learnt once image
tokens say what they show, and masked words alone teach that late. Ours; akin to the attribute prediction of E2E-VLP.

Names alone are soon told without a thought of where; questions about places, sizes and relations need boxes.

Shapes: B images, I image tokens, R regions, T tokens of a region's words, W words, C image width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.mlp import init_normal
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch, DataError

BOX_WEIGHT = 5.0  # of the box's loss, as in DETR


class RegionTagging(Head):
    """For each token of the image trunk, binary cross-entropy over the words of the batch's regions; and, on objects, the mean
    absolute error of the box [x0, y0, x1, y1] in shares of the picture's sides, times 5.

    A token is on a region when its centre lies in the box widened by half a token, so that the smallest thing has one.
    Tokens on and off regions weigh the same in all, as background is most of a picture.
    """

    reads = "regions"

    def __init__(self, system: System):
        super().__init__()
        self.norm = nn.LayerNorm(system.image_width, eps=1e-5)
        self.words = nn.Linear(system.image_width, system.vocab_size)
        self.boxes = nn.Linear(system.image_width, 4)
        self.apply(init_normal)
        nn.init.constant_(self.words.bias, -4.0)  # a word is rarely there

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        regions = texts_of(batch, self.reads)
        if regions.target is None:
            raise DataError("the regions of this batch carry no boxes; tagging needs them")
        grid = states.image.grid
        tokens = states.image.tokens[:, -grid[0] * grid[1] :]  # not those that sum up the whole image
        # Words that no region of the batch has would be most of the work and teach nothing but their rarity.
        words, index = regions.tokens.ids.unique(return_inverse=True)
        tokens, (height, width) = self.norm(tokens), batch.images.pixels.shape[-2:]
        logits = F.linear(tokens, self.words.weight[words], self.words.bias[words]).float()
        on = covered(regions.target, grid, (height, width))
        target = torch.zeros_like(logits)
        region, place = on.nonzero(as_tuple=True)
        named = regions.tokens.mask[region]
        rows = regions.owner[region]
        row, at = (x[:, None].expand_as(named)[named] for x in (rows, place))
        target[row, at, index[region][named]] = 1.0
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
        object_, ground = target.any(-1), ~target.any(-1)
        if states.image.valid is not None:
            ground = ground & states.image.valid
        half = [global_mean((loss * kind).sum(), kind.sum()) / 2 for kind in (object_, ground)]
        boxes = regions.target / regions.target.new_tensor([width, height, width, height])
        error = (self.boxes(tokens[rows, place]).float() - boxes[region]).abs()
        off = global_mean(error.sum(), error.numel())
        found = ((logits > 0) * target).sum() / target.sum().clamp(min=1)
        return {"loss": half[0] + half[1] + BOX_WEIGHT * off, "recall": found.detach(), "box_error": off.detach()}


def covered(boxes: Tensor, grid: tuple[int, int], size: tuple[int, ...]) -> Tensor:
    """Which tokens of a grid over a picture of `size` (height, width) pixels lie on boxes [R, 4]: [R, I] bool."""
    height, width = size[0] / grid[0], size[1] / grid[1]
    y = (torch.arange(grid[0], device=boxes.device) + 0.5) * height
    x = (torch.arange(grid[1], device=boxes.device) + 0.5) * width
    x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(1)
    rows = (y >= y0 - height / 2) & (y <= y1 + height / 2)
    columns = (x >= x0 - width / 2) & (x <= x1 + width / 2)
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)
