"""The batches of a run: what each source and each evaluation reads of its data, and how pictures are shown."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlfuse.checkpoints.folder import Preprocessing
from vlfuse.data.answers import AnswerList
from vlfuse.data.classes import class_names, few_shot
from vlfuse.data.collate import ALL, Collate
from vlfuse.data.grounding import GroundingCollate
from vlfuse.data.loader import Collator, Loader
from vlfuse.data.prompts import Negatives, PromptMaker, class_prompts
from vlfuse.data.readers import Dataset
from vlfuse.data.scaling import ScaleTransform, longest_for
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import DISTORTIONS, TrainTransform, Transform, Transformed
from vlfuse.engine.distributed import World
from vlfuse.engine.run import Run, Source
from vlfuse.objectives.grounding import Grounding
from vlfuse.systems.base import Model
from vlfuse.types import ConfigError

FIELDS = ("captions", "questions", "statements", "regions")
BOXED = ("phrases", "expressions")


@dataclass(frozen=True)
class Blind:
    """A transform that shows nothing but a picture's shape: what a model reaches with it,
    it reaches without looking."""

    transform: Any  # a Transform or a ScaleTransform, which is told whether to mirror

    @property
    def size(self) -> int:
        return self.transform.size

    def __call__(self, image: Image.Image, boxes: Tensor, rng: np.random.Generator, *mirrored: bool) -> Transformed:
        pixels, boxes, keep = self.transform(image, boxes, rng, *mirrored)
        return torch.zeros_like(pixels), boxes, keep


def check_texts(run: Run, model: Model) -> None:
    """Every source gives exactly the kinds of text that its heads read."""
    for source in run.sources:
        heads = [model.head(name) for name in source.heads]
        boxed = any("boxes" in head.needs for head in heads)
        if boxed != bool(source.boxes.reads) or (boxed and len(heads) > 1):
            raise ConfigError(
                f"source {source.data}: boxes.reads is '{source.boxes.reads}' and its heads are {', '.join(source.heads)}; the head "
                "grounding, alone in its source, reads phrases, expressions or regions, and no other head does"
            )
        if source.boxes.reads:
            continue
        read = {kind for head in heads for kind in (head.reads, *head.needs)}
        for kind in (*FIELDS, "queries"):
            number = getattr(source, kind)
            if number and kind not in read:
                raise ConfigError(
                    f"source {source.data}: {kind} is {number}, but none of its heads ({', '.join(source.heads)}) reads them"
                )
            if kind in read and number <= 0:
                raise ConfigError(f"source {source.data}: its heads read {kind}; set how many each sample gives")


def source_loader(
    run: Run, source: Source, dataset: Dataset, model: Model, tokenizer: Tokenizer, given: Preprocessing, world: World
) -> Loader:
    if source.boxes.reads:
        collate: Collator = box_collate(run, source, dataset, model, tokenizer, given)
        dataset = few_shot(dataset, source.boxes.shots, run.seed) if source.boxes.shots else dataset
    else:
        collate = text_collate(run, source, model, tokenizer, given.at(source.image_size))
    return Loader(
        dataset,
        collate,
        source.batch_size // run.accumulate,
        seed=run.seed,
        workers=run.workers,
        rank=world.rank,
        world_size=world.size,
        strict=run.strict,
    )


def box_collate(
    run: Run, source: Source, dataset: Dataset, model: Model, tokenizer: Tokenizer, given: Preprocessing
) -> GroundingCollate:
    """A published detector goes on as it was trained: with boxes that end in their last pixel,
    and texts as long as can be."""
    asked, head = source.boxes, model.head(*source.heads)  # which is alone, or check_texts refuses
    assert isinstance(head, Grounding)
    transform: Any = scaling(given, asked.scales, asked.longest, asked.crop)
    transform = replace(transform, inclusive=head.published)
    prompts = None
    if asked.reads == "regions":
        names = class_names(dataset)  # of all the data, whatever few pictures are learnt from
        whole = not asked.negatives and len(class_prompts(names, tokenizer, given.max_text)) == 1
        negatives = None if whole else Negatives(asked.negatives or Negatives.most)
        prompts = PromptMaker(names, tokenizer, given.max_text, negatives)
    return GroundingCollate(
        tokenizer,
        Blind(transform) if run.blind else transform,  # type: ignore[arg-type]
        given.max_text,
        asked.reads,  # type: ignore[arg-type]
        asked.texts,
        prompts,
        asked.flip,
        asked.sides,
        pad_to_max=run.compile or head.published,
    )


def scaling(given: Preprocessing, scales: tuple[int, ...] = (), longest: int = 0, crop: bool = False) -> ScaleTransform:
    """What looks for regions sees pictures in their own shape, whose short side has the model's image size."""
    sides = tuple(scales) or (given.size,)
    return ScaleTransform(sides, longest or longest_for(max(sides)), crop, mean=given.mean, std=given.std)


def text_collate(run: Run, source: Source, model: Model, tokenizer: Tokenizer, given: Preprocessing) -> Collate:
    if source.augment == "none":
        transform: Transform = given.transform()
    else:
        distort = DISTORTIONS.get(source.augment)
        transform = TrainTransform(given.size, distort is not None, source.flip, mean=given.mean, std=given.std)
        transform = replace(transform, distort=distort) if distort else transform
    needs = {need for head in source.heads for need in model.head(head).needs}
    return Collate(
        tokenizer,
        Blind(transform) if run.blind else transform,
        given.max_text,
        captions=source.captions,
        questions=source.questions,
        statements=source.statements,
        regions=source.regions,
        answers=AnswerList(common(source, model, "answers")) if "answers" in needs else None,
        labels=common(source, model, "labels"),
        queries=source.queries,
        phrases="phrases" in needs,
        mask_probability=source.mask_probability if "masks" in needs else 0.0,
        pad_to_max=run.compile,
    )


def common(source: Source, model: Model, classes: Literal["answers", "labels"]) -> tuple[str, ...]:
    """The answers or labels of the heads that learn them from one source, () where none does.
    ConfigError where heads differ."""
    heads = {name: model.head(name) for name in source.heads}
    found = {name: tuple(getattr(head, classes)) for name, head in heads.items() if classes in head.needs}
    if len(set(found.values())) > 1:
        raise ConfigError(
            f"source {source.data}: the heads {', '.join(found)} have different {classes}; give each a source of its own"
        )
    return next(iter(found.values()), ())


def evaluation_loader(
    reads: str,
    dataset: Dataset,
    tokenizer: Tokenizer,
    given: Preprocessing,
    batch_size: int,
    blind: bool = False,
    strict: bool = False,
    world: World | None = None,
    workers: int = 0,
) -> Loader:
    """The data set in order, with all texts of a kind, and nothing left to chance."""
    world = world or World()
    transform: Any = scaling(given) if reads in BOXED else given.transform()
    transform = Blind(transform) if blind else transform
    if reads in BOXED:
        collate: Collator = GroundingCollate(tokenizer, transform, given.max_text, reads, ALL)  # type: ignore[arg-type]
    else:
        captions, questions, statements, _ = (ALL if kind == reads else 0 for kind in FIELDS)
        collate = Collate(tokenizer, transform, given.max_text, captions, questions, statements, mask_probability=0.0)
    return Loader(
        dataset,
        collate,
        max(world.size, batch_size // world.size * world.size),
        shuffle=False,
        workers=workers,
        rank=world.rank,
        world_size=world.size,
        strict=strict,
    )
