"""Spotting: after fusion, every image token says whether it lies on something that the text names.

The image's half of looking: its tokens learn to read the text and to compare themselves with it, which is what
questions of existence and number need, and what `pointing` cannot teach, as attention always falls somewhere. Ours; a
coarse kin of FIBER's alignment of regions and words in the fine stage.

Shapes: N texts, I image tokens of the last stage, M objects.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.mlp import init_normal
from vlfuse.objectives.tagging import covered
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch, DataError, TaskError


class Spotting(Head):
    """Binary cross-entropy for each fused image token; tokens on and off what is named weigh the same in all."""

    reads, needs = "grounding", ("queries",)

    def __init__(self, system: System):
        super().__init__()
        self.named = nn.Linear(system.text_width, 1)
        self.apply(init_normal)

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        texts = texts_of(batch, self.reads)
        objects = texts.objects
        if objects is None:
            raise DataError("the texts of this batch name no objects; spotting needs their boxes")
        fused = system.fuse(states.image[texts.owner], states.text(self.reads))
        if fused.grid is None:
            raise TaskError(f"the fused image tokens of {type(system).__name__} lie on no grid; spotting needs one")
        places = fused.grid[0] * fused.grid[1]  # what stands before them is of the whole picture
        logits = self.named(fused.image[:, -places:])[..., 0].float()
        counts = torch.zeros(logits.shape, dtype=torch.int32, device=logits.device)
        on = covered(objects.boxes, fused.grid, batch.images.pixels.shape[-2:])
        target = counts.index_add_(0, objects.text, on.int()) > 0
        loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
        half = [global_mean((loss * kind).sum(), kind.sum()) / 2 for kind in (target, ~target)]
        right = (logits > 0) == target
        rates = [(right & kind).sum() / kind.sum().clamp(min=1) for kind in (target, ~target)]
        return {"loss": half[0] + half[1], "recall": rates[0].detach(), "specificity": rates[1].detach()}
