"""From samples with boxes to a batch of the fine stage: texts, the boxes they name, and which tokens name each.

Shapes: B images, N texts, T tokens, n boxes of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vlfuse.data.collate import ALL, choose, join_pictures, without_pixels
from vlfuse.data.images import load_oriented, upright_sample
from vlfuse.data.problems import SampleError
from vlfuse.data.prompts import Prompt, PromptMaker
from vlfuse.data.scaling import ScaleTransform
from vlfuse.data.sides import can_swap, names_sides, swap_sides
from vlfuse.data.spans import check_spans, positive_map
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.types import Batch, Box, ConfigError, DataError, Objects, Phrase, Sample, Span, Texts

Reads = Literal["phrases", "expressions", "regions"]


@dataclass(frozen=True)
class Told:
    """A text about a picture. groups: for each of its boxes, the spans that name it."""

    prompt: Prompt
    boxes: tuple[Box, ...]
    groups: tuple[tuple[Span, ...], ...]

    def swapped(self) -> Told:
        """Of the mirrored picture."""
        return replace(
            self,
            prompt=replace(
                self.prompt,
                text=swap_sides(self.prompt.text)[0],
                spans=tuple(swap_sides(self.prompt.text, spans)[1] for spans in self.prompt.spans),
            ),
            groups=tuple(swap_sides(self.prompt.text, spans)[1] for spans in self.groups),
        )


@dataclass(frozen=True)
class PreparedGrounding:
    """One sample on its way into a batch. boxes: of each text, those in view, in pixels of `pixels`; stored: (height,
    width) before the transform."""

    sample: Sample
    pixels: Tensor
    stored: tuple[int, int]
    told: tuple[Told, ...]
    boxes: tuple[Tensor, ...]


@dataclass(frozen=True)
class GroundingCollate:
    """How samples with boxes become a batch: its texts for grounding, whose records are prompts,
    with the objects they name.

    reads: "phrases" takes captions with the phrases that have boxes; "expressions" texts that mean one box; "regions"
    makes a prompt of classes (`prompts`) whose boxes are those of the sample. texts: how many of these a sample gives:
    k > 0 up to k at random (training), -1 all in order (evaluation); of regions there is one.
    flip: share of pictures that are mirrored. sides: where a text names left or right, "withhold" the mirror, or "swap"
    the words and withhold it only where their meaning is in doubt.
    Boxes that the transform leaves out of view are left out. In training, so are phrases' and expressions' texts of
    which no box is left; a sample without any such text cannot be used. A picture without objects can.
    pad_to_max: texts of `max_text` tokens always, as the published checkpoints read them. multiple: of the batch's
    height and width. All chance comes from the samples' own generators,
    so a sample is the same in whatever batch it stands.
    """

    tokenizer: Tokenizer
    transform: ScaleTransform
    max_text: int
    reads: Reads
    texts: int = 1
    prompts: PromptMaker | None = None
    flip: float = 0.0
    sides: Literal["withhold", "swap"] = "withhold"
    pad_to_max: bool = False
    multiple: int = 32

    def __post_init__(self):
        if (self.prompts is not None) != (self.reads == "regions"):
            raise ConfigError(
                f"prompts of classes belong to reads='regions', and to nothing else; here it is '{self.reads}'"
            )
        if self.texts < 1 and self.texts != ALL:
            raise ConfigError(f"texts is {self.texts}; a sample gives 1 or more, or all (-1)")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip is {self.flip}; it is a share of the pictures, from 0 to 1")

    def __call__(self, items: Sequence[tuple[Sample, np.random.Generator]]) -> Batch:
        return self.join([self.prepare(sample, rng) for sample, rng in items])

    def prepare(self, sample: Sample, rng: np.random.Generator) -> PreparedGrounding:
        """The part that is each sample's own. Raises SampleError where the sample cannot be used."""
        if len(sample.images) != 1:
            raise SampleError("record", sample.origin, "it has two pictures; boxes and phrases belong to one")
        picture, orientation = load_oriented(sample.images[0], sample.origin)
        sample = upright_sample(sample, picture, orientation)
        told = choose(self._told(sample, rng), self.texts, rng)
        _check(told, sample.origin)
        mirrored = bool(self.flip) and bool(rng.random() < self.flip) and self._may_mirror(told)
        if mirrored:
            told = tuple(text.swapped() for text in told)
        boxes = torch.tensor([box for text in told for box in text.boxes], dtype=torch.float32).view(-1, 4)
        pixels, boxes, keep = self.transform(picture, boxes, rng, mirrored)
        pieces = zip(told, *(t.split([len(text.boxes) for text in told]) for t in (boxes, keep)), strict=True)
        seen = [
            (replace(text, groups=tuple(g for g, kept in zip(text.groups, inside, strict=True) if kept)), own[inside])
            for text, own, inside in pieces
            if self.texts == ALL or self.reads == "regions" or bool(inside.any())
        ]
        if not seen and self.texts != ALL:
            raise SampleError("record", sample.origin, f"it has no {self.reads} with a box inside its picture")
        return PreparedGrounding(
            without_pixels(sample),
            pixels,
            (picture.height, picture.width),
            tuple(text for text, _ in seen),
            tuple(own for _, own in seen),
        )

    def _may_mirror(self, told: Sequence[Told]) -> bool:
        texts = [text.prompt.text for text in told]
        return all(map(can_swap, texts)) if self.sides == "swap" else not any(map(names_sides, texts))

    def _told(self, sample: Sample, rng: np.random.Generator) -> tuple[Told, ...]:
        if self.reads == "phrases":
            captions = dict.fromkeys(phrase.caption for phrase in sample.phrases)
            return tuple(_of_caption(sample, caption) for caption in sorted(captions))
        if self.reads == "expressions":
            spans = [e.spans or ((0, len(e.text)),) for e in sample.expressions]
            return tuple(
                Told(Prompt(e.text, (number,), (named,)), (e.box,), (named,))
                for number, (e, named) in enumerate(zip(sample.expressions, spans, strict=True))
            )
        return (self._of_classes(sample, rng),)

    def _of_classes(self, sample: Sample, rng: np.random.Generator) -> Told:
        assert self.prompts is not None
        numbers, regions = self.prompts.numbers, [region for region in sample.regions if not region.iscrowd]
        unknown = next((region.label for region in regions if region.label not in numbers), None)
        if unknown is not None:
            raise SampleError(
                "record", sample.origin, f"a region is labelled '{unknown}', none of the {len(numbers)} classes"
            )
        absent = [numbers[label] for label in sample.absent if label in numbers] if sample.absent else None
        prompt = self.prompts.draw([numbers[region.label] for region in regions], rng, absent)
        spans = dict(zip(prompt.things, prompt.spans, strict=True))
        asked = [region for region in regions if numbers[region.label] in spans]
        return Told(
            prompt, tuple(region.box for region in asked), tuple(spans[numbers[region.label]] for region in asked)
        )

    def join(self, prepared: Sequence[PreparedGrounding]) -> Batch:
        """At least one prepared sample -> a batch; without texts for grounding where none has one."""
        stored = torch.tensor([p.stored for p in prepared])
        batch = Batch(
            replace(join_pictures([p.pixels for p in prepared], self.multiple), stored=stored),
            samples=tuple(p.sample for p in prepared),
        )
        told = [text for p in prepared for text in p.told]
        if not told:
            return batch
        encoded = self.tokenizer.encode_fully([text.prompt.text for text in told], self.max_text, self.pad_to_max)
        counts = torch.tensor([len(p.told) for p in prepared])
        boxes = [own for p in prepared for own in p.boxes]
        maps = [
            positive_map(text.prompt.text, offsets, text.groups)
            for text, offsets in zip(told, encoded.offsets, strict=True)
        ]
        owners = torch.repeat_interleave(torch.arange(len(told)), torch.tensor([len(own) for own in boxes]))
        texts = Texts(
            encoded.tokens,
            torch.repeat_interleave(torch.arange(len(prepared)), counts),
            records=tuple(text.prompt for text in told),
            objects=Objects(torch.cat(boxes), torch.cat(maps), owners),
        )
        return replace(batch, grounding=texts)


def _check(told: Sequence[Told], origin: str) -> None:
    for text in told:
        try:
            check_spans(text.prompt.text, [span for spans in text.groups for span in spans])
        except DataError as error:
            raise SampleError("record", origin, str(error)) from error


def _of_caption(sample: Sample, caption: int) -> Told:
    """A box that several phrases of the caption name is one box with all their spans."""
    numbers = [number for number, phrase in enumerate(sample.phrases) if phrase.caption == caption]
    phrases: list[Phrase] = [sample.phrases[number] for number in numbers]
    named: dict[Box, list[Span]] = {}
    for phrase in phrases:
        for box in phrase.boxes:
            named.setdefault(box, []).append(phrase.span)
    prompt = Prompt(sample.captions[caption], tuple(numbers), tuple((phrase.span,) for phrase in phrases))
    return Told(prompt, tuple(named), tuple(tuple(spans) for spans in named.values()))
