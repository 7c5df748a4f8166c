"""Pointing: the tokens of a caption's phrase look where the phrase's box lies.

A lesson in looking for models that start from nothing. Answers and masked words reward looking in the right place only
once what is seen there can be put to use, which it cannot until a model looks in the right place; boxes break the
circle. Ours; attention was taught by people's gaze before (Qiao et al. 2018, "Exploring human-like attention
supervision in visual question answering").

Shapes: M objects, N captions, T tokens, I image tokens of a layer.
"""

import torch
from torch import Tensor

from vlfuse.objectives.tagging import covered
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch, DataError, Tokens


class Pointing(Head):
    """Minus the logarithm of the attention (mean over heads) that falls on the box, mean over tokens and fused layers.

    A token is taught by all boxes of its phrase together. Where captions are masked, the masked ones are read: a hidden
    word must find its thing by its neighbours, which is what masked language modelling needs.
    """

    reads, needs = "captions", ("phrases",)

    def __init__(self, system: System):
        super().__init__()

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        captions = texts_of(batch, self.reads)
        objects = captions.objects
        if objects is None:
            raise DataError("the captions of this batch carry no phrases with boxes; pointing needs them")
        ids = captions.tokens.ids if captions.masked_ids is None else captions.masked_ids
        text = system.encode_text(Tokens(ids, captions.tokens.mask))
        looks = system.looks(states.image[captions.owner], text)
        size = batch.images.pixels.shape[-2:]
        taught = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
        _add(taught, objects.text, objects.positive > 0)
        losses, shares = [], []
        for look in looks:
            target = torch.zeros(*ids.shape, look.weights.shape[-1], dtype=torch.bool, device=ids.device)
            on = covered(objects.boxes, look.grid, size)
            _add(target, objects.text, (objects.positive > 0)[:, :, None] & on[:, None, :])
            share = (look.weights * target).sum(-1)[taught]
            losses.append(-share.clamp(min=1e-6).log().sum())
            shares.append(share.detach().sum())
        count = taught.sum()
        scale = max(len(looks), 1)
        return {
            "loss": global_mean(torch.stack(losses).sum() / scale, count),
            "share": torch.stack(shares).sum() / (scale * count.clamp(min=1)),
        }


def _add(to: Tensor, rows: Tensor, marks: Tensor) -> None:
    """Mark, in row `rows[i]` of a bool tensor, what `marks[i]` marks; further columns are padding."""
    counts = torch.zeros(to.shape, dtype=torch.int32, device=to.device)
    counts[:, : marks.shape[1]].index_add_(0, rows, marks.int())
    to |= counts > 0
