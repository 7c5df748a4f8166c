"""FIBER: fusion in the backbone (Dou, Kamath et al., 2022).

Shapes: B images, N texts or pairs, I image tokens, T text tokens, C image width, D text width, E shared width.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.backbones.swin import Swin, SwinConfig
from vlfuse.backbones.text import TextConfig, TextEncoder
from vlfuse.fusion.gated import GatedCrossAttention
from vlfuse.layers.mlp import Pooler, init_fan_in, init_normal
from vlfuse.systems import fiber_maps
from vlfuse.systems.base import Role, System
from vlfuse.systems.fiber_decoder import FiberDecoder
from vlfuse.types import ConfigError, Fused, FusedMaps, Images, ImageState, Look, TextState, Tokens


@dataclass(frozen=True)
class FiberConfig:
    """Defaults: FIBER-Base as published."""

    swin: SwinConfig = field(default_factory=SwinConfig)
    text: TextConfig = field(default_factory=TextConfig)
    fuse_last: int = 6  # paper section 3.1: cross-attention in the last 6 blocks of each backbone
    width: int = 768  # of the shared space after fusion, and of the contrastive space
    # Where the gates start; 0 leaves pre-trained backbones unchanged. From scratch they start open (1),
    # as there is nothing to leave unchanged.
    gate: float = 0.0  # of the text's view of the image
    image_gate: float = 0.0  # of the image's view of the text
    # The stream of image features grows with depth and differs several times in length between a thing and plain ground.
    # Pre-trained backbones come to terms with that; from scratch the ground drowns the things unless what the text and the heads
    # read of the image is normalised.
    read_norm: bool = False
    query_norm: bool = True  # of the image's view of the text; the published detectors of "v2" do without
    init: Literal["published", "scratch"] = (
        "published"  # "scratch": by fan-in, as a std of 0.02 starves small widths; see TextEncoder.start_from_scratch
    )

    def __post_init__(self):
        most = min(len(self.swin.blocks), self.text.layers)
        if not 1 <= self.fuse_last <= most:
            raise ConfigError(
                f"fuse_last is {self.fuse_last}; it must lie in 1..{most} (the shorter of the two backbones)"
            )


class Fiber(System):
    def __init__(self, config: FiberConfig):
        super().__init__()
        self.config = config
        swin, text = config.swin, config.text
        first_image, first_text = len(swin.blocks) - config.fuse_last, text.layers - config.fuse_last
        self.pairs = [(first_image + i, first_text + i) for i in range(config.fuse_last)]
        image_cross, text_cross = {}, {}
        for image_block, text_layer in self.pairs:
            stage = swin.blocks[image_block][0]
            # A block reads the other side as it stands before the pair, so the text sees stage width and grid.
            image_cross[swin.blocks[image_block]] = GatedCrossAttention(
                swin.width(stage), text.width, swin.heads[stage], norm=config.query_norm, gate=config.image_gate
            )
            text_cross[text_layer] = GatedCrossAttention(
                text.width,
                swin.width(stage),
                text.heads,
                norm=False,
                gate=config.gate,
                dropout=text.dropout,
                context_norm=config.read_norm,
            )
        self.image = Swin(swin, image_cross)
        self.text = TextEncoder(text, text_cross)
        image_width = swin.width(len(swin.depths) - 1)
        self.image_transform = nn.Linear(image_width, config.width)
        self.text_transform = nn.Linear(text.width, config.width)
        self.image_pooler = Pooler(config.width)
        self.text_pooler = Pooler(config.width)
        self.image_transform_itc = nn.Linear(image_width, config.width)
        self.text_transform_itc = nn.Linear(text.width, config.width)
        self.image_pooler_itc = Pooler(config.width)
        self.text_pooler_itc = Pooler(config.width)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        for name, module in self.named_children():
            if name not in ("image", "text"):
                module.apply(init_normal)
        if config.init == "scratch":
            self.apply(init_fan_in)
            self.text.start_from_scratch()
            self.image.start_from_scratch()
            if self.image.position is not None:
                nn.init.normal_(self.image.position, std=0.3)  # as large as a patch, it would drown what a token shows
        self.pooled_width, self.text_width, self.embed_width = 2 * config.width, config.width, config.width
        self.image_width = swin.width(swin.blocks[first_image][0])
        self.vocab_size, self.max_tokens = text.vocab_size, text.max_tokens
        self.token_width = text.width
        self.map_widths, self.map_strides = fiber_maps.widths_and_strides(self)

    def encode_image(self, images: Images) -> ImageState:
        """Swin up to the first fused block."""
        x, grid, valid = self.image.embed(images.pixels, images.sizes)
        for number in range(self.pairs[0][0]):
            x = self.image.block(number, x, grid, valid)
            x, grid, valid = self.image.after(number, x, grid, valid)
        return ImageState(x, grid, valid)

    def encode_text(self, text: Tokens) -> TextState:
        """Embeddings and the text layers below the first fused one."""
        x = self.text.embeddings(text.ids)
        for number in range(self.pairs[0][1]):
            x = self.text.layer(number, x, text.mask)
        return TextState(x, text.mask)

    def fuse(self, image: ImageState, text: TextState) -> Fused:
        """Run the fused top of both backbones (paper section 3.1, equations 3-4).

        Each pair updates in parallel: both sides read the other's state from *before* the pair. The last text layer
        skips its norm and the image norm is left out; both belong to the dual encoder.
        """
        x, grid, valid = image.tokens, image.grid, image.valid
        y = text.tokens
        for image_block, text_layer in self.pairs:
            last = text_layer == self.config.text.layers - 1
            fused_x = self.image.block(image_block, x, grid, valid, y, text.mask)
            y = self.text.layer(text_layer, y, text.mask, x, valid, final_norm=not last)
            x, grid, valid = self.image.after(image_block, fused_x, grid, valid)
        if self.config.read_norm:
            x = self.image.norm(x)
        x, y = self.image_transform(x), self.text_transform(y)
        pooled = torch.cat([self.text_pooler(y[:, 0]), self.image_pooler(mean(x, valid))], dim=-1)
        return Fused(image=x, text=y, pooled=pooled, grid=grid)

    def looks(self, image: ImageState, text: TextState) -> list[Look]:
        """Where each text token looks in the image, for every fused layer in order."""
        layers: list[GatedCrossAttention] = [self.text.layers[layer].cross for _, layer in self.pairs]  # type: ignore[misc]
        for cross in layers:
            cross.watched = []
        try:
            self.fuse(image, text)
            weights = [w for cross in layers for w in cross.watched or ()]
        finally:
            for cross in layers:
                cross.watched = None
        grids, (rows, columns) = [], image.grid
        first = self.config.swin.blocks[self.pairs[0][0]][0]
        for block, _ in self.pairs:
            halvings = self.config.swin.blocks[block][0] - first
            grids.append((-(-rows // 2**halvings), -(-columns // 2**halvings)))
        return [Look(w, grid) for w, grid in zip(weights, grids, strict=True)]

    def encode_maps(self, images: Images) -> ImageState:
        return fiber_maps.encode_maps(self, images)

    def fuse_maps(self, image: ImageState, text: TextState) -> FusedMaps:
        return fiber_maps.fuse_maps(self, image, text)

    def project_image(self, state: ImageState) -> Tensor:
        """The dual encoder's image side: the same top blocks with the fusion off, their norm on. [B, E]."""
        top = self.image_alone(state)
        x = self.image_transform_itc(self.image.norm(top.tokens))
        return F.normalize(self.image_pooler_itc(mean(x, top.valid)).float(), dim=-1)

    def image_alone(self, state: ImageState) -> ImageState:
        """The top image blocks with the fusion off, not normalised."""
        x, grid, valid = state.tokens, state.grid, state.valid
        for number, _ in self.pairs:
            x = self.image.block(number, x, grid, valid)
            x, grid, valid = self.image.after(number, x, grid, valid)
        return ImageState(x, grid, valid)

    def decoder(self) -> FiberDecoder:
        return FiberDecoder(self)

    def project_text(self, state: TextState) -> Tensor:
        """The dual encoder's text side. [N, E]."""
        y = state.tokens
        for _, number in self.pairs:
            y = self.text.layer(number, y, state.mask)
        return F.normalize(self.text_pooler_itc(self.text_transform_itc(y)[:, 0]).float(), dim=-1)

    def role(self, parameter: str) -> Role:
        """Fusion, transforms and poolers learn faster than the backbones (reference: its "cross-modal" groups)."""
        if ".cross." in parameter or not parameter.startswith(("image.", "text.", "temperature")):
            return "cross"
        return "image" if parameter.startswith("image.") else "base"


def mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over real tokens: [B, I, E] -> [B, E]."""
    if valid is None:
        return x.mean(1)
    weight = valid / valid.sum(1, keepdim=True)  # before the sum, which could leave the range of half precision
    return (x * weight.to(x.dtype)[..., None]).sum(1)
