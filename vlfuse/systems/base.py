"""What every system offers, and a model: one system with the heads trained on it.

Shapes: B images, N texts, P pooled width, E embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vlfuse.layers.cache import Past
from vlfuse.types import (
    Answer,
    Batch,
    Fused,
    FusedMaps,
    Images,
    ImageState,
    Look,
    Rows,
    TaskError,
    Texts,
    TextState,
    Tokens,
)

Role = Literal["base", "image", "head", "cross"]
Need = Literal["answers", "labels", "masks", "phrases", "queries", "boxes"]


class System(nn.Module, ABC):
    """Encode once, fuse many: the three public steps, and `project` for contrastive learning and first-stage search."""

    pooled_width: int  # of Fused.pooled
    text_width: int  # of Fused.text
    image_width: int  # of ImageState.tokens
    embed_width: int  # of the contrastive space
    vocab_size: int
    max_tokens: int
    temperature: nn.Parameter  # scalar divisor of contrastive similarities
    token_width: int = 0  # of FusedMaps.text
    map_widths: tuple[int, ...] = ()  # of FusedMaps.maps, finest first; none where a system cannot look at regions
    map_strides: tuple[int, ...] = ()  # pixels a place of each map stands for

    @abstractmethod
    def encode_image(self, images: Images) -> ImageState:
        """All that needs no text."""

    @abstractmethod
    def encode_text(self, text: Tokens) -> TextState:
        """All that needs no image."""

    @abstractmethod
    def fuse(self, image: ImageState, text: TextState) -> Fused:
        """One pass per image-text pair; both states have the same number of rows."""

    def looks(self, image: ImageState, text: TextState) -> list[Look]:
        """Where each text token looks in the image, for every layer that looks there, in order."""
        raise TaskError(f"{type(self).__name__} does not tell where its texts look; fiber does")

    def encode_maps(self, images: Images) -> ImageState:
        """As `encode_image`, and what `fuse_maps` needs beside: a state for both."""
        raise TaskError(f"{type(self).__name__} has no maps of regions; fiber has")

    def fuse_maps(self, image: ImageState, text: TextState) -> FusedMaps:
        """As `fuse`, but keeping where things are, at several sizes. The image state is one of `encode_maps`."""
        raise TaskError(f"{type(self).__name__} has no maps of regions; fiber has")

    def pooled(self, image: ImageState, text: TextState) -> Tensor:
        """`fuse(image, text).pooled`, for heads that read nothing else: a system that can leave the rest out, does."""
        return self.fuse(image, text).pooled

    def as_picture(self, state: ImageState, number: int) -> ImageState:
        """The state of picture `number` (0 or 1) of a pair; most systems tell the two apart by nothing but the head."""
        return state

    @abstractmethod
    def project_image(self, state: ImageState) -> Tensor:
        """[B, E], unit length."""

    @abstractmethod
    def project_text(self, state: TextState) -> Tensor:
        """[N, E], unit length."""

    def decoder(self) -> Decoder:
        """A new decoder that writes texts about images with this system's layers."""
        raise TaskError(f"{type(self).__name__} has no decoder that writes text, so it can have no head that captions")

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """Contrastive logits of unit embeddings [B, E] and [N, E]: [B, N], in full precision also under autocast.

        Divided by the temperature, the rounding of a half precision product would be of the size of a margin.
        """
        with torch.autocast(image.device.type, enabled=False):
            return image.float() @ text.float().T / self.temperature

    @abstractmethod
    def role(self, parameter: str) -> Role:
        """Which learning-rate group a parameter of this system belongs to: the backbones or what joins them."""

    def set_recompute(self, on: bool) -> None:
        """Activation checkpointing, see `recompute`."""
        recompute(self, on)


def recompute(module: nn.Module, on: bool) -> None:
    """Activation checkpointing: recompute blocks in the backward pass instead of keeping their activations."""
    for part in module.modules():
        if hasattr(part, "recompute"):
            part.recompute = on  # type: ignore[assignment]


class Decoder(nn.Module, ABC):
    """What it takes, beside a system's own weights, to write a text about an image from left to right.

    The system is handed to every call, for its weights belong to the model and not to this part of it.
    """

    @abstractmethod
    def past(self, system: Any) -> Past:
        """An empty cache for `forward`."""

    @abstractmethod
    def remember(self, system: Any, image: ImageState) -> Rows:
        """All that the image contributes to every word, computed once."""

    @abstractmethod
    def forward(
        self, system: Any, ids: Tensor, memory: Rows, mask: Tensor | None = None, past: Past | None = None
    ) -> Tensor:
        """ids [N, T] -> [N, T, E], width `system.text_width`; each token sees those before it, itself and its image.

        memory: of N images, or of N / k where rows in groups of k share one. mask [N, T]: True at real tokens; None,
        all. past: what earlier calls computed of the tokens before these; it is added to.
        """


class States:
    """What the heads of one step share: the image trunk and each text are encoded once, when first asked for."""

    def __init__(self, system: System, batch: Batch, generator: torch.Generator | None = None):
        """generator: seeded alike on every process, so that what is drawn depends on the step
        and not on the process."""
        self.system, self.batch, self.generator = system, batch, generator
        self._image: ImageState | None = None
        self._maps: ImageState | None = None
        self._texts: dict[str, TextState] = {}
        self._embeddings: dict[str, Tensor] = {}

    @property
    def image(self) -> ImageState:
        if self._image is None:
            self._image = self.system.encode_image(self.batch.images)
        return self._image

    @property
    def maps(self) -> ImageState:
        """The image state that regions need; what asks for `image` afterwards gets the same."""
        if self._maps is None:
            self._image = self._maps = self.system.encode_maps(self.batch.images)
        return self._maps

    def text(self, field: str) -> TextState:
        """State of `batch.captions`, `.questions` or `.statements` (field names one)."""
        if field not in self._texts:
            self._texts[field] = self.system.encode_text(texts_of(self.batch, field).tokens)
        return self._texts[field]

    def image_embedding(self) -> Tensor:
        if "image" not in self._embeddings:
            self._embeddings["image"] = self.system.project_image(self.image)
        return self._embeddings["image"]

    def text_embedding(self, field: str) -> Tensor:
        if field not in self._embeddings:
            self._embeddings[field] = self.system.project_text(self.text(field))
        return self._embeddings[field]


def texts_of(batch: Batch, field: str) -> Texts:
    texts = getattr(batch, field)
    if texts is None or len(texts.owner) == 0:
        raise TaskError(f"this batch has no {field}; the head that reads them needs data with {field}")
    return texts


class Head(nn.Module, ABC):
    """A pre-training objective or a downstream task on top of any system."""

    reads: ClassVar[str]  # the field of Batch it reads: captions, questions, statements, regions or grounding
    needs: ClassVar[tuple[Need, ...]] = ()
    """What training data must give beside these texts: targets over the head's own `answers` or `labels`; captions with
    masked tokens (masks) or with the boxes that their phrases name (phrases); descriptions of regions (queries); or all
    that a source of boxes gives, for itself alone (boxes)."""

    @abstractmethod
    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        """{"loss": scalar with gradient, and any number of detached scalars to log}."""

    def decode(self, system: System, states: States, batch: Batch) -> list[Answer]:
        """One answer for each text row, in the user's own labels (captioning: for each image)."""
        raise TaskError(f"{type(self).__name__} is a pre-training objective and gives no answers")

    def settings(self) -> dict[str, Any]:
        """What, beside the weights and the system, is needed to build this head again (JSON)."""
        return {}


class Model(nn.Module):
    """A system and its heads. Calling it on a batch runs every head that `batch` has texts for (or those named)."""

    def __init__(self, system: System, heads: dict[str, Head]):
        super().__init__()
        self.system = system
        self.heads = nn.ModuleDict(heads)

    def forward(
        self, batch: Batch, heads: tuple[str, ...] = (), generator: torch.Generator | None = None
    ) -> dict[str, dict[str, Tensor]]:
        states = States(self.system, batch, generator)
        return {name: self.head(name)(self.system, states, batch) for name in heads or tuple(self.heads)}

    def head(self, name: str) -> Head:
        if name not in self.heads:
            raise TaskError(f"this model has no head '{name}'; it has: {', '.join(self.heads) or 'none'}")
        return self.heads[name]  # type: ignore[return-value]

    @torch.no_grad()
    def decode(self, batch: Batch, head: str) -> list[Answer]:
        return self.head(head).decode(self.system, States(self.system, batch), batch)

    def parameter_roles(self) -> dict[str, tuple[Role, bool]]:
        """Learning-rate role and whether weight decay applies, for every parameter: matrices decay,
        the rest does not."""
        roles: dict[str, tuple[Role, bool]] = {}
        for name, parameter in self.named_parameters():
            role = self.system.role(name.removeprefix("system.")) if name.startswith("system.") else "head"
            decay = parameter.ndim >= 2 and not name.endswith("bias_table")
            roles[name] = (role, decay)
        return roles
