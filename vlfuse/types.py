"""The nouns every part shares: errors, samples, tensors on their way to a model, and states inside one.

Shapes: B images, N texts, T text tokens, I image tokens, C image width, D text width, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Box: TypeAlias = tuple[float, float, float, float]
"""[x0, y0, x1, y1] in pixels of the stored image."""

Span: TypeAlias = tuple[int, int]
"""Characters [start, end) of a text."""

ImageSource: TypeAlias = str | bytes | np.ndarray | Image.Image
"""A path or URL, an encoded file, an [H, W, 3] uint8 array, or an opened picture."""


class VlfuseError(Exception):
    """Base of every error a user can mend; its text names the value, what is allowed and the mend."""


class DataError(VlfuseError):
    """A record, image or data file that cannot be used."""


class ConfigError(VlfuseError):
    """A configuration value that is out of range, unknown, or would be ignored."""


class CheckpointError(VlfuseError):
    """Weights that do not fit the model or cannot be read safely."""


class TaskError(VlfuseError):
    """A task the loaded model has no head for, or input the task cannot take."""


# --- samples: what a dataset holds -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Region:
    box: Box
    label: str
    attributes: tuple[str, ...] = ()
    iscrowd: int = 0


@dataclass(frozen=True, slots=True)
class Phrase:
    """Characters [start, end) of caption number `caption`, and the boxes they name. kinds: people, animals ...
    where known."""

    caption: int
    span: Span
    boxes: tuple[Box, ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A text that means one thing. spans: the characters that name it ("the dog" of "the dog on the left"); empty:
    all of them."""

    text: str
    box: Box
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    question: str
    answers: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """`label` is true/false (reasoning) or entailment/neutral/contradiction; empty where unknown."""

    text: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a dataset. `images` holds one picture, or two for paired reasoning (NLVR2).

    absent: labels known to have no region in the picture; partial: labels of which not every thing has its region.
    Where absent is given, nothing is known of labels that are neither absent nor among the regions (LVIS's federated
    annotation).
    """

    id: str
    images: tuple[ImageSource, ...]
    captions: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    expressions: tuple[Expression, ...] = ()
    questions: tuple[Question, ...] = ()
    statements: tuple[Statement, ...] = ()
    absent: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    split: str = ""
    origin: str = ""  # "file:line" or "archive:member", for error messages


# --- batches: what a model receives ------------------------------------------------------------------------


class Rows:
    """Row-wise operations shared by every dataclass whose tensors have the batch as first dimension.

    Tensors, nested `Rows` and tuples of them are rows; every other field (a grid, a size) belongs to the whole
    and must agree when pieces are joined.
    """

    def __getitem__(self, index: Any) -> Self:
        """Select or repeat rows: an int tensor, a bool tensor, a list or a slice. Never a bare int."""
        if isinstance(index, int):
            raise IndexError(f"index [{index}] would drop the batch dimension; use [[{index}]] or a slice")
        first = next(_tensors(self))
        if isinstance(index, Sequence):
            index = torch.as_tensor(index, dtype=torch.long, device=first.device)
        return self._map(lambda t: t[index])

    def __len__(self) -> int:
        return len(next(_tensors(self)))

    def _map(self, f) -> Self:
        return replace(self, **{x.name: _apply(getattr(self, x.name), f) for x in fields(self)})  # type: ignore[type-var]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def detach(self) -> Self:
        return self._map(torch.Tensor.detach)


R = TypeVar("R", bound=Rows)


def _tensors(value: Any):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Rows):
        for x in fields(value):  # type: ignore[arg-type]
            yield from _tensors(getattr(value, x.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)


def _apply(value: Any, f) -> Any:
    if isinstance(value, Tensor):
        return f(value)
    if isinstance(value, Rows):
        return value._map(f)
    if isinstance(value, tuple) and any(isinstance(x, (Tensor, Rows)) for x in value):
        return tuple(_apply(x, f) for x in value)
    return value


def cat(*pieces: R) -> R:
    """Join the rows of states (or images, or tokens) of one kind, in order."""

    def join(values: list[Any]) -> Any:
        head = values[0]
        if isinstance(head, Tensor):
            return torch.cat(values)
        if isinstance(head, Rows):
            return cat(*values)
        if isinstance(head, tuple) and any(isinstance(x, (Tensor, Rows)) for x in head):
            return tuple(join(list(column)) for column in zip(*values, strict=True))
        if any(value != head for value in values):
            raise ValueError(f"cannot join states that differ: {values}")
        return head

    return replace(pieces[0], **{x.name: join([getattr(p, x.name) for p in pieces]) for x in fields(pieces[0])})  # type: ignore


@dataclass(frozen=True)
class Images(Rows):
    """pixels [B, 3, H, W], normalised, zero-padded at the bottom and right; sizes [B, 2] the true (height, width);
    stored [B, 2] those of the pictures before their transform, upright, where boxes are to be brought back to them."""

    pixels: Tensor
    sizes: Tensor
    stored: Tensor | None = None


@dataclass(frozen=True)
class Tokens(Rows):
    """ids [N, T] int64 and mask [N, T] bool, True at real tokens (specials included)."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Objects(Rows):
    """What texts name in their pictures: boxes [M, 4] in pixels of `Batch.images`, text [M] the row of the text that
    names each, positive [M, T] above 0 at the tokens that name it (weights of sum 1; a row of zeros:
    an object that no token names)."""

    boxes: Tensor
    positive: Tensor
    text: Tensor


@dataclass(frozen=True)
class Texts:
    """N texts of one kind in a batch, each about one image row (or a pair of them).

    owner [N] or [N, 2]: rows of `Batch.images`. target: what the head learns, see the head; None when unknown.
    masked_ids, mask_labels [N, T]: input and targets of masked language modelling (-100 where nothing is asked).
    records: the Question, Statement or caption string behind each row, for decoding and metrics.
    objects: of texts for grounding, what they name.
    """

    tokens: Tokens
    owner: Tensor
    target: Tensor | None = None
    masked_ids: Tensor | None = None
    mask_labels: Tensor | None = None
    records: tuple[Any, ...] = ()
    objects: Objects | None = None

    def to(self, device: torch.device | str) -> Texts:
        def move(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.to(device)

        return Texts(
            self.tokens.to(device),
            self.owner.to(device),
            move(self.target),
            move(self.masked_ids),
            move(self.mask_labels),
            self.records,
            None if self.objects is None else self.objects.to(device),
        )


@dataclass(frozen=True)
class Batch:
    """Images and the texts about them. A sample with two pictures takes two consecutive image rows."""

    images: Images
    captions: Texts | None = None
    questions: Texts | None = None
    statements: Texts | None = None
    regions: Texts | None = None  # label and attributes of each; target [R, 4]: its box in pixels of `images`
    samples: tuple[Sample, ...] = ()
    grounding: Texts | None = None  # captions and prompts, with the objects they name

    def to(self, device: torch.device | str) -> Batch:
        def move(texts: Texts | None) -> Texts | None:
            return None if texts is None else texts.to(device)

        return Batch(
            self.images.to(device),
            move(self.captions),
            move(self.questions),
            move(self.statements),
            move(self.regions),
            self.samples,
            move(self.grounding),
        )


# --- states: what a system computes once and uses many times ---------------------------------------------------


@dataclass(frozen=True)
class ImageState(Rows):
    """All of an image that needs no text. tokens [B, S, C]: summary tokens, if the system has any, then those of the
    grid (rows, columns), I = rows x columns; valid [B, I] bool is False where the batch was padded, None when every
    token is real. finer: the ends of earlier stages, finest first, kept only for what looks at regions."""

    tokens: Tensor
    grid: tuple[int, int]
    valid: Tensor | None = None
    finer: tuple[ImageState, ...] = ()


@dataclass(frozen=True)
class TextState(Rows):
    """All of a text that needs no image. tokens [N, T, D]; mask [N, T] bool, True at real tokens."""

    tokens: Tensor
    mask: Tensor

    def with_length(self, length: int) -> Self:
        """The same texts with room for `length` tokens, which must hold the longest."""
        return replace(self, tokens=resize_text(self.tokens, length), mask=resize_text(self.mask, length))


def resize_text(x: Tensor, length: int) -> Tensor:
    """[N, T, ...] -> [N, length, ...]: cut, or filled up with zeros."""
    if length <= x.shape[1]:
        return x[:, :length]
    return torch.cat([x, x.new_zeros(len(x), length - x.shape[1], *x.shape[2:])], dim=1)


@dataclass(frozen=True)
class Fused(Rows):
    """An image-text pair after fusion: image [N, I, D], whose last tokens lie on a grid (rows, columns), where a system
    has one, text [N, T, D], pooled [N, P] for classifiers."""

    image: Tensor
    text: Tensor
    pooled: Tensor
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Look(Rows):
    """Where text tokens look in an image, in one fused layer: weights [N, T, I], of sum 1 over the grid (rows,
    columns)."""

    weights: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class FusedMaps(Rows):
    """An image-text pair after fusion, for regions: maps [N, C_l, h, w] of several stages, finest first, each half the
    size of the one before; text [N, T, D] with mask [N, T]."""

    maps: tuple[Tensor, ...]
    text: Tensor
    mask: Tensor


# --- answers: what a user receives -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """`score` is a probability in [0, 1]; `alternatives` are the next best (text, score), best first."""

    text: str
    score: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Caption:
    """`score` is the mean probability of a word in [0, 1]; `alternatives` are the other captions found, best first."""

    text: str
    score: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """One hit of a search: position in the caller's list and its score."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found: `box` in pixels of the upright picture, `label` as the user wrote it, `score` in [0, 1]."""

    box: Box
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Grounding:
    """A phrase, the characters `span` of its caption, and where it is seen: boxes in pixels of the upright picture with
    scores in [0, 1], best first; none where it is not."""

    phrase: str
    span: Span
    boxes: tuple[Box, ...]
    scores: tuple[float, ...]
