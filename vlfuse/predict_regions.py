"""Looking for regions in the user's pictures: what `Predictor.detect`, `ground` and `refer` have in common.

Shapes: B pictures, N texts, L labels of a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlfuse.data.collate import join_pictures
from vlfuse.data.prompts import Prompt, class_prompts
from vlfuse.data.scaling import ScaleTransform, longest_for, scaled_size
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.objectives.grounding import Grounding as Head
from vlfuse.systems.base import System
from vlfuse.tasks.regions import Keep, Regions, find, to_stored
from vlfuse.types import Detection, Grounding, Images, Span, TaskError, TextState

T = TypeVar("T")
PICTURES = PAIRS = 8  # pictures encoded, and of pairs with texts fused, at a time
PLACES = 4096  # of the finest maps of pairs fused at a time on a CPU, whose caches hold no more
MULTIPLE = 32  # of the height and width of a batch, as in training
FEW = 1e-6  # relative: scores are computed in another order than what is asked of them


@dataclass(frozen=True)
class Eye:
    """A model that looks for regions. size, mean, std: of the pictures as it sees them."""

    system: System
    head: Head
    tokenizer: Tokenizer
    max_text: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device

    def look(
        self, pictures: Sequence[Image.Image], prompts: Sequence[Prompt], keep: Keep
    ) -> Iterator[tuple[int, Prompt, Regions]]:
        """Every prompt about every upright RGB picture: (number of the picture, prompt, boxes in pixels of the
        picture). Each is encoded once."""
        told = [self._told(some) for some in _chunks(prompts, PAIRS)]
        for numbers, images in self._shown(pictures):
            state, rows, together = self.system.encode_maps(images), range(len(numbers)), at_once(self.system, images)
            for some, text, labels in told:
                pairs = [(row, place) for place in range(len(some)) for row in rows]
                for part in _chunks(pairs, together):
                    image, prompt = [row for row, _ in part], [place for _, place in part]
                    maps = [labels[place] for place in prompt]
                    found = find(self.system, self.head, state[image], images.sizes[image], text[prompt], maps, keep)
                    for row, place, regions in zip(
                        image, prompt, to_stored(found, images, image, self.head.pixel), strict=True
                    ):
                        yield numbers[row], some[place], regions

    def _shown(self, pictures: Sequence[Image.Image]) -> Iterator[tuple[Sequence[int], Images]]:
        """Pictures that fill a batch of one size, with their numbers:
        a smaller one among larger would be cut into other windows."""
        transform = ScaleTransform((self.size,), longest_for(self.size), mean=self.mean, std=self.std)
        no_boxes, no_chance = torch.zeros(0, 4), np.random.default_rng(0)
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, picture in enumerate(pictures):
            size = scaled_size(picture.size, self.size, longest_for(self.size))
            alike.setdefault(tuple(-(-side // MULTIPLE) for side in size), []).append(number)
        for group in alike.values():
            for numbers in _chunks(group, PICTURES):
                own = [pictures[number] for number in numbers]
                images = join_pictures([transform(picture, no_boxes, no_chance)[0] for picture in own], MULTIPLE)
                stored = torch.tensor([(picture.height, picture.width) for picture in own])
                yield numbers, replace(images, stored=stored).to(self.device)

    def _told(self, prompts: Sequence[Prompt]) -> tuple[Sequence[Prompt], TextState, list[Tensor]]:
        """The states of prompts, and which tokens name each of their labels."""
        maps = [prompt.map(self.tokenizer, self.max_text) for prompt in prompts]
        for prompt, labels in zip(prompts, maps, strict=True):
            for row, spans in zip(labels, prompt.spans, strict=True):
                if not row.any():
                    raise TaskError(
                        f"'{prompt.text[slice(*spans[0])]}' is none of the {self.max_text} tokens that the model reads of a text; shorten "
                        "the text, or name what has letters"
                    )
        tokens = self.tokenizer.encode([prompt.text for prompt in prompts], self.max_text).to(self.device)
        return prompts, self.system.encode_text(tokens), [labels.to(self.device) for labels in maps]

    def detect(
        self,
        pictures: Sequence[Image.Image],
        names: Sequence[str],
        threshold: float | Mapping[str, float],
        rest: float,
        most: int,
        overlap: float,
    ) -> list[list[Detection]]:
        """For every picture, best first. threshold: for all classes, or for those named,
        the others then having `rest`."""
        least = _thresholds(names, threshold, rest)
        prompts = class_prompts(names, self.tokenizer, self.max_text)
        # A box can reach a score only where its label's probability reaches the square: the score has the centerness,
        # too.
        lowest = min(least.values())
        alike = lowest == max(least.values())
        wanted = most if alike else most * max(len(prompt.things) for prompt in prompts)
        keep = Keep(lowest**2 * (1 - FEW), overlap=overlap, most=wanted)
        found: list[list[Detection]] = [[] for _ in pictures]
        for row, prompt, regions in self.look(pictures, prompts, keep):
            found[row] += [one for one in _detections(regions, prompt, names) if one.score >= least[one.label]]
        return [sorted(own, key=lambda one: -one.score)[:most] for own in found]

    def ground(
        self, pictures: Sequence[Image.Image], caption: str, spans: Sequence[Span], threshold: float, keep: Keep
    ) -> list[list[Grounding]]:
        prompt = Prompt(caption, tuple(range(len(spans))), tuple((span,) for span in spans))
        seen = {number: regions for number, _, regions in self.look(pictures, [prompt], keep)}
        return [
            [_grounded(caption, span, seen[number], label, threshold) for label, span in enumerate(spans)]
            for number in range(len(pictures))
        ]

    def refer(self, pictures: Sequence[Image.Image], expressions: Sequence[str], keep: Keep) -> list[list[Detection]]:
        """For every picture, the best box of every expression."""
        prompts = [Prompt(text, (number,), (((0, len(text)),),)) for number, text in enumerate(expressions)]
        found: list[list[Detection]] = [[] for _ in pictures]
        for row, prompt, regions in self.look(pictures, prompts, keep):
            found[row] += _detections(regions[:1], prompt, expressions)
        return found


def at_once(system: System, images: Images) -> int:
    """How many pairs of such images with texts are best fused at a time."""
    height, width = images.pixels.shape[-2:]
    places = height * width // system.map_strides[0] ** 2
    return PAIRS if images.pixels.device.type != "cpu" else max(1, min(PAIRS, PLACES // max(1, places)))


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _thresholds(names: Sequence[str], threshold: float | Mapping[str, float], rest: float) -> dict[str, float]:
    given = dict(threshold) if isinstance(threshold, Mapping) else dict.fromkeys(names, threshold)
    for name, value in given.items():
        if name not in names:
            raise TaskError(f"there is a threshold for '{name}', which is none of the classes asked for")
        check_threshold(value)
    return {name: given.get(name, rest) for name in names}


def check_threshold(value: float) -> None:
    if not 0 <= value <= 1:  # also where it is no number
        raise TaskError(f"threshold is {value}; scores lie between 0 and 1")


def _detections(regions: Regions, prompt: Prompt, names: Sequence[str]) -> list[Detection]:
    columns: tuple[Tensor, ...] = (regions.boxes, regions.scores, regions.labels)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Detection(tuple(box), names[prompt.things[int(label)]], score) for box, score, label in rows]


def _grounded(caption: str, span: Span, regions: Regions, label: int, threshold: float) -> Grounding:
    own = regions[(regions.labels == label) & (regions.scores >= threshold)]
    boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in own.boxes.tolist())
    return Grounding(caption[slice(*span)], span, boxes, tuple(own.scores.tolist()))
