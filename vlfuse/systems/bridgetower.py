"""BridgeTower: a cross-modal encoder fed by a bridge from every top layer of ViT and RoBERTa (Xu et al. 2023).

Shapes: B images, N texts or pairs, I patches, S = 1 + I image tokens (the class token first), T text tokens, C image
width, W text width, D width of the cross-modal encoder, E embedding width, K cross-modal layers.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlfuse.backbones.text import TextConfig, TextEncoder
from vlfuse.backbones.vit import ViT, ViTConfig
from vlfuse.fusion.bridge import Bridge, BridgeKind
from vlfuse.fusion.coattention import CrossLayer
from vlfuse.layers.mlp import Pooler, init_fan_in, init_normal
from vlfuse.systems.base import Role, System
from vlfuse.types import ConfigError, Fused, Images, ImageState, Look, TextState, Tokens, resize_text

PICTURES = 2  # a statement is about one picture or a pair (NLVR2)


@dataclass(frozen=True)
class BridgeTowerConfig:
    """Defaults: BridgeTower-Base as published."""

    image: ViTConfig = field(default_factory=ViTConfig)
    text: TextConfig = field(default_factory=TextConfig)
    layers: int = 6  # cross-modal, each in two streams
    width: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1
    cross_eps: float = 1e-12  # of the norms inside cross-modal layers; Hugging Face's classes have 1e-5
    bridge_eps: float = 1e-5
    bridge: BridgeKind = "add"  # "none": the last layers of the backbones alone, as in METER (for comparison)
    embed_dim: int = 256  # contrastive space
    # What an image is projected from: the top layer of ViT as published, or, as in Hugging Face's contrastive class,
    # what the cross-modal encoder would read of it; that class also embeds the pair.
    contrast: Literal["published", "transformers"] = "published"
    init: Literal["published", "scratch"] = (
        "published"  # "scratch" scales by fan-in: small widths starve at a std of 0.02
    )

    def __post_init__(self):
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        most = min(self.image.layers, self.text.layers)
        if not self.layers >= 1 or (self.bridge != "none" and self.layers > most):
            raise ConfigError(f"layers is {self.layers}; it must lie in 1..{most} (the shorter of the two backbones)")

    @property
    def levels(self) -> int:
        """How many top layers of each backbone are kept."""
        return 1 if self.bridge == "none" else self.layers


@dataclass(frozen=True)
class BridgedImage(ImageState):
    """tokens [B, S, D]: the top layer of the ViT, transformed; lower: the kept layers below it, lowest first, likewise.

    opening [B, S, D]: the first cross-modal layer up to where it meets the text. summary [B, C]: the class token of the
    top layer as the ViT leaves it. picture [B] int64: first or second of a pair.
    """

    lower: tuple[Tensor, ...] = ()
    opening: Tensor = field(kw_only=True)
    summary: Tensor = field(kw_only=True)
    picture: Tensor = field(kw_only=True)

    @property
    def levels(self) -> tuple[Tensor, ...]:
        return (*self.lower, self.tokens)


@dataclass(frozen=True)
class BridgedText(TextState):
    """tokens [N, T, D], lower, opening [N, T, D] and summary [N, W] as in `BridgedImage`."""

    lower: tuple[Tensor, ...] = ()
    opening: Tensor = field(kw_only=True)
    summary: Tensor = field(kw_only=True)

    @property
    def levels(self) -> tuple[Tensor, ...]:
        return (*self.lower, self.tokens)

    def with_length(self, length: int) -> "BridgedText":
        lower = tuple(resize_text(level, length) for level in self.lower)
        return replace(super().with_length(length), lower=lower, opening=resize_text(self.opening, length))


class BridgeTower(System):
    def __init__(self, config: BridgeTowerConfig):
        super().__init__()
        self.config = config
        self.recompute = False  # activation checkpointing of the cross-modal layers, set from outside
        image, text, width = config.image, config.text, config.width
        self.image = ViT(image)
        self.text = TextEncoder(text)
        self.image_transform = nn.Linear(image.width, width)
        self.text_transform = nn.Linear(text.width, width)
        self.token_types = nn.Embedding(1 + PICTURES, width)  # text, first picture, second picture
        self.image_norm = nn.LayerNorm(width, eps=config.bridge_eps)
        self.text_norm = nn.LayerNorm(width, eps=config.bridge_eps)
        self.image_bridges = bridges(config)
        self.text_bridges = bridges(config)
        self.image_layers = nn.ModuleList(cross_layer(config) for _ in range(config.layers))
        self.text_layers = nn.ModuleList(cross_layer(config) for _ in range(config.layers))
        self.image_pooler = Pooler(width)
        self.text_pooler = Pooler(width)
        published = config.contrast == "published"
        self.image_projection = nn.Linear(image.width if published else width, config.embed_dim)
        self.text_projection = nn.Linear(text.width, config.embed_dim)
        self.pair_projection = None if published else nn.Linear(2 * width, config.embed_dim)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        for name, module in self.named_children():
            if name not in ("image", "text"):
                module.apply(init_normal)
        if config.init == "scratch":
            self.apply(init_fan_in)
            self.text.start_from_scratch()
            for layer in (*self.image_layers, *self.text_layers):
                layer.start_from_scratch()  # type: ignore[operator]
        with torch.no_grad():  # a pair starts as two single pictures
            self.token_types.weight[2:] = self.token_types.weight[1]
        self.pooled_width, self.text_width, self.embed_width = 2 * width, width, config.embed_dim
        self.image_width, self.vocab_size, self.max_tokens = width, text.vocab_size, text.max_tokens

    # --- encode: all that one side can do alone --------------------------------------------------------------------

    def encode_image(self, images: Images) -> BridgedImage:
        """The ViT, its top layers as the bridges take them (all after the one `norm_post`), and the first cross-modal
        layer up to where it meets the text."""
        x, grid, valid = self.image.embed(images.pixels, images.sizes)
        kept = []
        for number in range(self.config.image.layers):
            x = self.image.block(number, x, valid)
            if number >= self.config.image.layers - self.config.levels:
                kept.append(self.image.norm_post(x))
        *lower, top = (self.image_transform(level) for level in kept)
        picture = torch.zeros(len(x), dtype=torch.long, device=x.device)
        summary = kept[-1][:, 0]
        state = BridgedImage(top, grid, valid, lower=tuple(lower), opening=top, summary=summary, picture=picture)
        return self._opened(state)

    def encode_text(self, text: Tokens) -> BridgedText:
        """RoBERTa, its top layers as the bridges take them, and the first cross-modal layer up to
        where it meets the image."""
        y = self.text.embeddings(text.ids)
        kept = []
        for number in range(self.config.text.layers):
            y = self.text.layer(number, y, text.mask)
            if number >= self.config.text.layers - self.config.levels:
                kept.append(y)
        *lower, top = (self.text_transform(level) for level in kept)
        state = BridgedText(top, text.mask, tuple(lower), opening=top, summary=y[:, 0])
        layer: CrossLayer = self.text_layers[0]  # type: ignore[assignment]
        return replace(state, opening=layer.own(self._text_input(state, 0, None), text.mask))

    def as_picture(self, state: BridgedImage, number: int) -> BridgedImage:  # type: ignore[override]
        """A pair's pictures differ by the type added to their tokens at every level."""
        return state if number == 0 else self._opened(replace(state, picture=state.picture + number))

    def _opened(self, state: BridgedImage) -> BridgedImage:
        layer: CrossLayer = self.image_layers[0]  # type: ignore[assignment]
        return replace(state, opening=layer.own(self._image_input(state, 0, None), image_mask(state)))

    # --- fuse ------------------------------------------------------------------------------------------------------

    def fuse(self, image: BridgedImage, text: BridgedText) -> Fused:  # type: ignore[override]
        """The K cross-modal layers; `Fused.image` [N, S, D] begins with the class token."""
        x, y = self._fused(image, text, first=False)
        return Fused(image=x, text=y, pooled=self._pool(x, y), grid=image.grid)

    def pooled(self, image: BridgedImage, text: BridgedText) -> Tensor:  # type: ignore[override]
        """`fuse(image, text).pooled`, without the tokens of the last layer that the poolers do not read."""
        return self._pool(*self._fused(image, text, first=True))

    def _pool(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([self.text_pooler(y[:, 0]), self.image_pooler(x[:, 0])], dim=-1)

    def _fused(self, image: BridgedImage, text: BridgedText, first: bool) -> tuple[Tensor, Tensor]:
        """Both streams after the last layer; of that layer, with `first`, the first token of each alone."""
        x: Tensor | None = None
        y: Tensor | None = None
        for number in range(self.config.layers):
            alone = first and number == self.config.layers - 1
            arguments = (number, image, text, x, y, alone)
            if self.recompute and self.training:
                x, y = checkpoint(self._layer, *arguments, use_reentrant=False)  # type: ignore[misc]
            else:
                x, y = self._layer(*arguments)
        assert x is not None and y is not None
        return x, y

    def _layer(
        self, number: int, image: BridgedImage, text: BridgedText, x: Tensor | None, y: Tensor | None, first: bool
    ) -> tuple[Tensor, Tensor]:
        """Cross-modal layer `number`. Each stream reads the other as it *enters* the layer."""
        image_layer: CrossLayer = self.image_layers[number]  # type: ignore[assignment]
        text_layer: CrossLayer = self.text_layers[number]  # type: ignore[assignment]
        x_in, y_in = self._image_input(image, number, x), self._text_input(text, number, y)
        x_mask = image_mask(image)
        if number == 0:
            x_own, y_own = (state.opening[:, :1] if first else state.opening for state in (image, text))
        else:
            x_own, y_own = image_layer.own(x_in, x_mask, first), text_layer.own(y_in, text.mask, first)
        return image_layer.read(x_own, y_in, text.mask), text_layer.read(y_own, x_in, x_mask)

    def _image_input(self, state: BridgedImage, number: int, x: Tensor | None) -> Tensor:
        """What layer `number` reads: the bridge of the uni-modal level and the cross-modal state x;
        at first the level alone."""
        if x is not None and self.config.bridge == "none":
            return x
        level = state.levels[number] + self.token_types(1 + state.picture)[:, None]
        return self.image_norm(level) if x is None else self.image_bridges[number - 1](level, x, image_mask(state))

    def _text_input(self, state: BridgedText, number: int, y: Tensor | None) -> Tensor:
        if y is not None and self.config.bridge == "none":
            return y
        level = state.levels[number] + self.token_types.weight[0]
        return self.text_norm(level) if y is None else self.text_bridges[number - 1](level, y, state.mask)

    def looks(self, image: BridgedImage, text: BridgedText) -> list[Look]:  # type: ignore[override]
        """Where each text token looks in the image, for every cross-modal layer;
        what falls on the class token is left out."""
        x: Tensor | None = None
        y: Tensor | None = None
        looks = []
        for number in range(self.config.layers):
            layer: CrossLayer = self.text_layers[number]  # type: ignore[assignment]
            x_in, y_in = self._image_input(image, number, x), self._text_input(text, number, y)
            y_own = text.opening if number == 0 else layer.own(y_in, text.mask)
            weights = layer.cross.look(y_own, x_in, image_mask(image))[..., 1:]
            looks.append(Look(weights / weights.sum(-1, keepdim=True).clamp(min=1e-6), image.grid))
            if number < self.config.layers - 1:
                x, y = self._layer(number, image, text, x, y, False)
        return looks

    # --- contrastive space -----------------------------------------------------------------------------------------

    def project_image(self, state: BridgedImage) -> Tensor:  # type: ignore[override]
        """[B, E], from the class token of the ViT's top layer, before the transform as published."""
        if self.pair_projection is None:
            return unit(self.image_projection(state.summary))
        return unit(self.image_projection(state.tokens[:, 0] + self.token_types.weight[1]))

    def project_text(self, state: BridgedText) -> Tensor:  # type: ignore[override]
        """[N, E], from the first token of RoBERTa's top layer, before the transform."""
        return unit(self.text_projection(state.summary))

    def project_pair(self, pooled: Tensor) -> Tensor:
        """[N, E] of pairs, from what `pooled` returned: the third embedding of Hugging Face's contrastive class."""
        if self.pair_projection is None:
            raise ConfigError("this model does not embed pairs; only one with contrast = 'transformers' does")
        return unit(self.pair_projection(pooled))

    def role(self, parameter: str) -> Role:
        """What was not in the pre-trained backbones learns faster; token types and the temperature do not,
        as published."""
        if parameter.startswith(("text.", "token_types", "temperature")):
            return "base"
        return "image" if parameter.startswith("image.") else "cross"


def bridges(config: BridgeTowerConfig) -> nn.ModuleList:
    """One for every layer but the first, which has no cross-modal state to join."""
    number = config.levels - 1
    return nn.ModuleList(Bridge(config.bridge, config.width, config.heads, config.bridge_eps) for _ in range(number))


def cross_layer(config: BridgeTowerConfig) -> CrossLayer:
    return CrossLayer(config.width, config.heads, config.intermediate, config.dropout, config.cross_eps)


def image_mask(state: ImageState) -> Tensor | None:
    """[B, S] bool over class token and patches, None when all are real."""
    return None if state.valid is None else F.pad(state.valid, (1, 0), value=True)


def unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)
