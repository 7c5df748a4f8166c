"""Hundreds of classes on one picture: its trunk encoded once for all prompts, against the whole model for every prompt.

A prompt holds as many classes as the text limit allows, so that 1,203 classes are some 25 prompts of 256 tokens. Both ways find
the same boxes; that is checked.

    python benchmarks/regions.py [--size tiny|base] [--prompts 25] [--repeats 1]
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vlfuse.objectives.grounding import Grounding
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


def prompt(system: Fiber, number: int) -> tuple[Tokens, Tensor]:
    """Random words, and the map of their classes."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(4, system.vocab_size, (1, TOKENS), generator=generator)
    classes = torch.arange(TOKENS)[None] // CLASS == torch.arange(TOKENS // CLASS)[:, None]
    return Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), classes.float()


def look(
    system: Fiber, head: Grounding, images: Images, prompts: int, image: Callable[[], ImageState]
) -> list[Regions]:
    found = []
    for number in range(prompts):
        tokens, classes = prompt(system, number)
        found += find(system, head, image(), images.sizes, system.encode_text(tokens), [classes], KEEP)
    return found


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
    look(system, head, images, 1, lambda: system.encode_maps(images))  # what is allocated and chosen at first use

    def once() -> list[Regions]:
        state = system.encode_maps(images)
        return look(system, head, images, asked.prompts, lambda: state)

    seconds, found = timed(once, asked.repeats)
    anew, expected = timed(
        lambda: look(system, head, images, asked.prompts, lambda: system.encode_maps(images)), asked.repeats
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.boxes, theirs.boxes)
        assert torch.equal(ours.labels, theirs.labels)
    print(f"size {asked.size}, {asked.prompts} prompts of {TOKENS} tokens on a picture of {PICTURE[asked.size]} pixels")
    print(f"  the whole model for every prompt  {anew:6.2f} s")
    print(f"  the trunk once                    {seconds:6.2f} s   {anew / seconds:.2f} times as fast, same boxes")


if __name__ == "__main__":
    main()
