"""FIBER as a captioner (Dou, Kamath et al. 2022, section 3.3): its text layers, made causal, look at the image alone.

Shapes: B images, N texts, T tokens, I image tokens, C image width, D text width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlfuse.layers.cache import Past
from vlfuse.layers.mlp import init_fan_in, init_normal
from vlfuse.systems.base import Decoder
from vlfuse.types import ImageState, Rows

if TYPE_CHECKING:
    from vlfuse.systems.fiber import Fiber


@dataclass(frozen=True)
class Memory(Rows):
    """Keys and values [B, H, I, D / H] of the image for each fused text layer; valid [B, I] as in ImageState."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    valid: Tensor | None = None


class FiberDecoder(Decoder):
    """Every fused text layer attends to the top of the image backbone, which here never looks at the text.

    Layers that were fused with a stage below the top, and so know a narrower image, get a projection of their own.
    """

    def __init__(self, system: Fiber):
        super().__init__()
        swin = system.config.swin
        top = len(swin.depths) - 1
        stages = {layer: swin.blocks[block][0] for block, layer in system.pairs}
        self.project = nn.ModuleDict(
            {str(n): nn.Linear(swin.width(top), swin.width(stage)) for n, stage in stages.items() if stage != top}
        )
        self.apply(init_fan_in if system.config.init == "scratch" else init_normal)

    def past(self, system: Fiber) -> Past:
        return Past(system.config.text.layers)

    def remember(self, system: Fiber, image: ImageState) -> Memory:
        return self.keys_values(system, system.image_alone(image))

    def keys_values(self, system: Fiber, top: ImageState) -> Memory:
        """The memory of images whose backbone has run to its top."""
        pairs = []
        for _, number in system.pairs:
            name = str(number)
            seen = self.project[name](top.tokens) if name in self.project else top.tokens
            pairs.append(system.text.layers[number].cross.keys_values(seen))  # type: ignore[operator,union-attr]
        keys, values = zip(*pairs, strict=True)
        return Memory(keys, values, top.valid)

    def forward(
        self, system: Fiber, ids: Tensor, memory: Memory, mask: Tensor | None = None, past: Past | None = None
    ) -> Tensor:
        length, before = ids.shape[1], past.length if past is not None else 0
        visible = None  # one token more sees all there is
        if length > 1:
            places = torch.arange(before + length, device=ids.device)
            visible = (places <= places[before:, None])[None, None]
        if mask is not None:
            visible = mask[:, None, None, :] if visible is None else visible & mask[:, None, None, :]
        x = system.text.embeddings(ids, before)
        first = system.pairs[0][1]
        for number, layer in enumerate(system.text.layers):
            seen = None if number < first else (memory.keys[number - first], memory.values[number - first])
            cache = None if past is None else past.layers[number]
            given = x, visible, seen, memory.valid, True, cache
            if system.text.recompute and self.training and past is None:
                x = checkpoint(layer, *given, use_reentrant=False)
            else:
                x = layer(*given)
        return system.text_transform(x)
