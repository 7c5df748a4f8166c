"""From samples to the batch a model receives: texts chosen, tokenised and masked, pictures transformed, targets made.

Shapes: B images, N texts, T tokens, A answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlfuse.data.answers import AnswerList
from vlfuse.data.images import load_oriented, upright_sample
from vlfuse.data.masking import IGNORED, mask_tokens
from vlfuse.data.problems import SampleError
from vlfuse.data.queries import Query, draw_queries
from vlfuse.data.spans import positive_map
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import Transform
from vlfuse.types import Batch, ConfigError, Images, Objects, Question, Region, Sample, Span, Statement, Texts

ALL = -1


@dataclass(frozen=True)
class Prepared:
    """One sample on its way into a batch: its pictures done, its texts chosen."""

    sample: Sample
    pixels: list[Tensor]
    captions: tuple[str, ...]
    named: tuple[tuple[tuple[Span, Tensor], ...], ...]  # by each caption's phrases: their characters and a box
    questions: tuple[Question, ...]
    statements: tuple[Statement, ...]
    regions: tuple[tuple[Region, Tensor], ...]
    queries: tuple[Query, ...]
    rng: np.random.Generator


@dataclass(frozen=True)
class Collate:
    """How samples become a batch.

    captions, questions, statements, regions: how many of a kind each sample gives: 0 none, k > 0 up to k at random
    (training), -1 all, in order (evaluation). Regions that the transform leaves out of view are left out; pairs of
    pictures have none. In training, questions without an answer in the list and statements without label are left out.
    answers: the closed list that makes the targets of questions, [N, A] soft scores; None leaves them without target.
    labels: the classes of statements in the order of the head's outputs, such as ("false", "true"); the target is [N]
    int64, -100 where unknown, None where all are unknown. queries: of how many descriptions, with the objects they fit,
    make `Batch.grounding`; see `vlfuse.data.queries`. phrases: with captions, the objects that their phrases name
    (`Texts.objects`), those in view. mask_probability: share of the captions' tokens that masked language modelling
    asks for; 0 for none. pad_to_max: pad texts to `max_text` instead of the longest of the batch: fixed shapes for
    compiled models. All chance comes from the samples' own generators,
    so a sample is the same in whatever batch it stands.
    """

    tokenizer: Tokenizer
    transform: Transform
    max_text: int
    captions: int = 0
    questions: int = 0
    statements: int = 0
    regions: int = 0
    answers: AnswerList | None = None
    labels: tuple[str, ...] = ()
    queries: int = 0
    phrases: bool = False
    mask_probability: float = 0.15
    pad_to_max: bool = False

    def __call__(self, items: Sequence[tuple[Sample, np.random.Generator]]) -> Batch:
        return self.join([self.prepare(sample, rng) for sample, rng in items])

    def prepare(self, sample: Sample, rng: np.random.Generator) -> Prepared:
        """The part that is each sample's own. Raises SampleError where the sample cannot be used."""
        pictures = [load_oriented(source, sample.origin) for source in sample.images]
        sample = upright_sample(sample, *pictures[0])
        single = len(sample.images) == 1
        asked = sample.regions if (self.regions or self.queries) and single else ()
        phrases = [(p, box) for p in sample.phrases for box in p.boxes] if self.phrases and single else []
        boxes = torch.tensor([r.box for r in asked] + [box for _, box in phrases]).view(-1, 4)
        shown = [self.transform(picture, boxes, rng) for picture, _ in pictures]
        pixels, (_, boxes, in_view) = [pixels for pixels, _, _ in shown], shown[0]
        regions = [(r, box) for r, box, seen in zip(asked, boxes, in_view, strict=False) if seen and not r.iscrowd]
        named: list[list[tuple[Span, Tensor]]] = [[] for _ in sample.captions]
        for (phrase, _), box, seen in zip(phrases, boxes[len(asked) :], in_view[len(asked) :], strict=True):
            if seen:
                named[phrase.caption].append((phrase.span, box))
        chosen = choose(tuple(range(len(sample.captions))), self.captions, rng)
        questions, statements = sample.questions, sample.statements
        if self.questions > 0 and self.answers is not None:
            questions = tuple(q for q in questions if self.answers.covers(q.answers))
        if self.statements > 0 and self.labels:
            statements = tuple(s for s in statements if s.label)
        if self.statements and self.labels:
            self._check_labels(statements, sample.origin)
        return Prepared(
            sample=without_pixels(sample),
            pixels=pixels,
            captions=tuple(sample.captions[i] for i in chosen),
            named=tuple(tuple(named[i]) for i in chosen),
            questions=choose(questions, self.questions, rng),
            statements=choose(statements, self.statements, rng),
            regions=choose(tuple(regions), self.regions, rng),
            queries=draw_queries(regions, self.queries, rng),
            rng=rng,
        )

    def _check_labels(self, statements: tuple[Statement, ...], origin: str) -> None:
        for statement in statements:
            if statement.label and statement.label not in self.labels:
                raise SampleError(
                    "record",
                    origin,
                    f"a statement has the label '{statement.label}'; this task knows {', '.join(self.labels)}",
                )

    def join(self, prepared: Sequence[Prepared]) -> Batch:
        """At least one prepared sample -> a batch. `Batch.samples` keep the paths of pictures,
        not pictures held in memory."""
        pictures = {len(p.pixels) for p in prepared}
        if len(pictures) > 1:
            raise ConfigError("a batch mixes samples of one picture and of two; keep them in datasets of their own")
        per_sample = pictures.pop()
        return Batch(
            images=join_pictures([picture for p in prepared for picture in p.pixels]),
            captions=self._captions(prepared, per_sample),
            questions=self._questions(prepared, per_sample),
            statements=self._statements(prepared, per_sample),
            regions=self._regions(prepared),
            grounding=self._queries(prepared),
            samples=tuple(p.sample for p in prepared),
        )

    def _captions(self, prepared: Sequence[Prepared], per_sample: int) -> Texts | None:
        captions = [caption for p in prepared for caption in p.captions]
        if not captions:
            return None
        rows = self.tokenizer.ids(captions, self.max_text)
        texts = self._texts(rows, captions, _owner([p.captions for p in prepared], per_sample))
        if self.phrases:
            texts = replace(texts, objects=self._objects(captions, [named for p in prepared for named in p.named]))
        if not self.mask_probability:
            return texts
        generators = [p.rng for p in prepared for _ in p.captions]
        masked = [self._mask(row, rng) for row, rng in zip(rows, generators, strict=True)]
        length = texts.tokens.ids.shape[1]
        return replace(
            texts,
            masked_ids=self.tokenizer.pad([ids for ids, _ in masked], self.tokenizer.pad_id, length),
            mask_labels=self.tokenizer.pad([labels for _, labels in masked], IGNORED, length),
        )

    def _objects(self, captions: Sequence[str], named: Sequence[Sequence[tuple[Span, Tensor]]]) -> Objects:
        encoded = self.tokenizer.encode_fully(captions, self.max_text, self.pad_to_max)
        width = encoded.offsets.shape[1]
        maps = [
            positive_map(caption, offsets, [[span] for span, _ in own], width)
            for caption, offsets, own in zip(captions, encoded.offsets, named, strict=True)
        ]
        boxes = [box for own in named for _, box in own]
        text = torch.repeat_interleave(torch.arange(len(named)), torch.tensor([len(own) for own in named]))
        return Objects(torch.stack(boxes) if boxes else torch.zeros(0, 4), torch.cat(maps), text)

    def _mask(self, row: list[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ids, tokenizer = np.array(row), self.tokenizer
        special = tokenizer.special(ids)
        return mask_tokens(ids, special, tokenizer.vocab_size, tokenizer.mask_id, rng, self.mask_probability)

    def _questions(self, prepared: Sequence[Prepared], per_sample: int) -> Texts | None:
        questions = [question for p in prepared for question in p.questions]
        if not questions:
            return None
        rows = self.tokenizer.ids([q.question for q in questions], self.max_text)
        texts = self._texts(rows, questions, _owner([p.questions for p in prepared], per_sample))
        if self.answers is None:
            return texts
        return replace(texts, target=torch.stack([self.answers.target(q.answers) for q in questions]))

    def _statements(self, prepared: Sequence[Prepared], per_sample: int) -> Texts | None:
        statements = [statement for p in prepared for statement in p.statements]
        if not statements:
            return None
        rows = self.tokenizer.ids([s.text for s in statements], self.max_text)
        texts = self._texts(rows, statements, _owner([p.statements for p in prepared], per_sample))
        if not self.labels or not any(s.label for s in statements):
            return texts
        target = [self.labels.index(s.label) if s.label else IGNORED for s in statements]
        return replace(texts, target=torch.tensor(target))

    def _regions(self, prepared: Sequence[Prepared]) -> Texts | None:
        regions = [region for p in prepared for region in p.regions]
        if not regions:
            return None
        words = [" ".join((*region.attributes, region.label)) for region, _ in regions]
        rows = [row[1:-1] for row in self.tokenizer.ids(words, self.max_text)]  # without the frame of a text
        texts = self._texts(rows, [region for region, _ in regions], _owner([p.regions for p in prepared], 1))
        return replace(texts, target=torch.stack([box for _, box in regions]))

    def _queries(self, prepared: Sequence[Prepared]) -> Texts | None:
        queries = [query for p in prepared for query in p.queries]
        if not queries:
            return None
        rows = self.tokenizer.ids([query.text for query in queries], self.max_text)
        texts = self._texts(rows, queries, _owner([p.queries for p in prepared], 1))
        text = torch.repeat_interleave(torch.arange(len(queries)), torch.tensor([len(q.boxes) for q in queries]))
        named = texts.tokens.mask.float() / texts.tokens.mask.sum(1, keepdim=True)
        return replace(texts, objects=Objects(torch.cat([query.boxes for query in queries]), named[text], text))

    def _texts(self, rows: list[list[int]], records: list[Any], owner: Tensor) -> Texts:
        tokens = self.tokenizer.tokens(rows, self.max_text if self.pad_to_max else 0)
        return Texts(tokens, owner, records=tuple(records))


def without_pixels(sample: Sample) -> Sample:
    if all(isinstance(source, str) for source in sample.images):
        return sample
    return replace(sample, images=tuple(source if isinstance(source, str) else "" for source in sample.images))


def join_pictures(pictures: Sequence[Tensor], multiple: int = 1) -> Images:
    """Pictures [3, H, W] of any sizes, padded with zeros at the bottom and right to the largest,
    and on to a multiple of `multiple`."""
    sizes = torch.tensor([picture.shape[-2:] for picture in pictures])
    height, width = (-(-side // multiple) * multiple for side in sizes.amax(0).tolist())
    if bool((sizes == torch.tensor([height, width])).all()):
        return Images(torch.stack(list(pictures)), sizes)
    pixels = torch.zeros(len(pictures), 3, height, width)
    for row, picture in zip(pixels, pictures, strict=True):
        row[:, : picture.shape[1], : picture.shape[2]] = picture
    return Images(pixels, sizes)


def choose(texts: tuple[Any, ...], number: int, rng: np.random.Generator) -> tuple[Any, ...]:
    if number == ALL:
        return texts
    if number == 0 or not texts:
        return ()
    return tuple(texts[i] for i in rng.permutation(len(texts))[:number])


def _owner(groups: list[tuple[Any, ...]], per_sample: int) -> Tensor:
    """[N] image rows, or [N, 2] for samples of two pictures, of the texts of each sample in turn."""
    counts = torch.tensor([len(group) for group in groups])
    first = torch.repeat_interleave(torch.arange(len(groups)) * per_sample, counts)
    return first if per_sample == 1 else first[:, None] + torch.arange(per_sample)
