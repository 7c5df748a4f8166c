"""Hundreds of classes on one picture: its trunk encoded once for all prompts, against the whole model for every prompt.

A prompt holds as many classes as the text limit allows, so that 1,203 classes are some 25 prompts of 256 tokens. With the trunk once
prompts are fused as many at a time as `Predictor.detect` does. Both ways find the same boxes; that is checked.

    python benchmarks/regions.py [--size tiny|base] [--prompts 25] [--repeats 1]
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vlfuse.objectives.grounding import Grounding
from vlfuse.predict_regions import at_once
from vlfuse.recipes.sizes import size_of
from vlfuse.systems.fiber import Fiber
from vlfuse.tasks.regions import Keep, Regions, find
from vlfuse.types import Images, ImageState, Tokens

PICTURE = {"tiny": (224, 288), "base": (480, 640)}  # pixels, height and width
HEAD = {"tiny": {"width": 96, "blocks": 2}, "base": {}}
TOKENS, CLASS = 256, 5  # of a prompt, and of a class with what separates it from the next
KEEP = Keep(threshold=0.0, per_level=100)  # random weights are sure of nothing


def build(size: str) -> tuple[Fiber, Grounding, Images]:
    torch.manual_seed(0)
    system = Fiber(size_of(size).config).eval()
    head = Grounding(system, **HEAD[size]).eval()
    height, width = PICTURE[size]
    return system, head, Images(torch.randn(1, 3, height, width), torch.tensor([[height, width]]))


def prompt(system: Fiber, number: int) -> tuple[Tensor, Tensor]:
    """Ids of random words, and the map of their classes."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(4, system.vocab_size, (TOKENS,), generator=generator)
    classes = torch.arange(TOKENS)[None] // CLASS == torch.arange(TOKENS // CLASS)[:, None]
    return ids, classes.float()


def look(system: Fiber, head: Grounding, state: ImageState, sizes: Tensor, numbers: Sequence[int]) -> list[Regions]:
    """What the prompts of these numbers find in the one image of `state`."""
    rows, (ids, maps) = [0] * len(numbers), zip(*(prompt(system, number) for number in numbers), strict=True)
    tokens = torch.stack(ids)
    text = system.encode_text(Tokens(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    return find(system, head, state[rows], sizes[rows], text, maps, KEEP)


def require_same(ours: Regions, theirs: Regions) -> None:
    """Every box has its equal with the same label; scores that differ by rounding may change places."""
    equal = (ours.boxes[:, None] - theirs.boxes).abs().amax(-1) < 0.01
    equal &= (ours.scores[:, None] - theirs.scores).abs() < 1e-5
    equal &= ours.labels[:, None] == theirs.labels
    assert len(ours.boxes) == len(theirs.boxes) and equal.any(0).all() and equal.any(1).all()


def timed(run: Callable[[], list[Regions]], repeats: int) -> tuple[float, list[Regions]]:
    best, found = float("inf"), []
    for _ in range(repeats):
        start = time.perf_counter()
        found = run()
        best = min(best, time.perf_counter() - start)
    return best, found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(PICTURE), default="tiny")
    parser.add_argument("--prompts", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    system, head, images = build(asked.size)
    together = at_once(system, images)

    def once(prompts: int = asked.prompts) -> list[Regions]:
        state, numbers = system.encode_maps(images), range(prompts)
        parts = [numbers[start : start + together] for start in range(0, prompts, together)]
        return [regions for part in parts for regions in look(system, head, state, images.sizes, part)]

    def anew() -> list[Regions]:
        each = [look(system, head, system.encode_maps(images), images.sizes, [n]) for n in range(asked.prompts)]
        return [regions for own in each for regions in own]

    once(together)  # what is allocated and chosen at first use
    seconds, found = timed(once, asked.repeats)
    other, expected = timed(anew, asked.repeats)
    for ours, theirs in zip(found, expected, strict=True):
        require_same(ours, theirs)
    print(f"size {asked.size}, {asked.prompts} prompts of {TOKENS} tokens on a picture of {PICTURE[asked.size]} pixels")
    print(f"  the whole model for every prompt  {other:6.2f} s")
    print(f"  the trunk once                    {seconds:6.2f} s   {other / seconds:.2f} times as fast, same boxes")


if __name__ == "__main__":
    main()
