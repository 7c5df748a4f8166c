"""BridgeTower on a CPU: its forward against that of Hugging Face transformers, and re-ranking with states against full passes.

Both sides of a comparison have the same weights and inputs, run in turn in one process, and must agree.

    python benchmarks/bridgetower.py [--size base|small] [--batch 4] [--repeats 3] [--candidates 128]
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from vlfuse.checkpoints.bridgetower_hf import import_huggingface
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Model
from vlfuse.tasks.retrieval import Gallery, fused_scores
from vlfuse.types import Images, Tokens, cat

R = TypeVar("R")
CHUNK = 16  # images, texts or pairs at once
LENGTH = 50  # tokens of a text in the forward, as published
CAPTION = (9, 20)  # shortest and longest caption of a gallery, in tokens, as of COCO

SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "text_config": {"hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 512},
    "vision_config": {"hidden_size": 128, "num_hidden_layers": 6, "image_size": 96},
}


def pair_of_models(size: str):
    """Theirs and ours with the same random weights."""
    from transformers import BridgeTowerConfig, BridgeTowerForImageAndTextRetrieval

    torch.manual_seed(0)
    config = BridgeTowerConfig(**({} if size == "base" else SMALL), attn_implementation="eager")  # type: ignore[call-arg]
    theirs = BridgeTowerForImageAndTextRetrieval(config).eval()
    ours, _ = import_huggingface(theirs.state_dict(), config.to_dict())
    return theirs.bridgetower, ours


def pictures(count: int, side: int) -> Images:
    return Images(torch.randn(count, 3, side, side), torch.full((count, 2), side))


def texts(count: int, shortest: int, longest: int) -> Tokens:
    lengths = torch.randint(shortest, longest + 1, (count,))
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    return Tokens(torch.where(mask, torch.randint(4, 50000, (count, longest)), 1), mask)


def seconds(run: Callable[[], R]) -> tuple[float, R]:
    """With one thread CPU time, so that what else the machine does counts for neither side."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    result = run()
    return clock() - start, result


@torch.no_grad()
def forward(theirs, ours: Model, batch: int, repeats: int) -> None:
    system = ours.system
    images, text = pictures(batch, system.config.image.image_size), texts(batch, LENGTH, LENGTH)  # type: ignore[union-attr]
    ways: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: (
            theirs(input_ids=text.ids, attention_mask=text.mask.long(), pixel_values=images.pixels).pooler_output
        ),
        "vlfuse": lambda: system.fuse(system.encode_image(images), system.encode_text(text)).pooled,
    }
    best = dict.fromkeys(ways, float("inf"))
    found: dict[str, Tensor] = {}
    for _ in range(repeats):
        for name, run in ways.items():
            spent, found[name] = seconds(run)
            best[name] = min(best[name], spent)
    difference = float((found["transformers"] - found["vlfuse"]).abs().max())
    print(f"forward, batch {batch}, {LENGTH} tokens, {images.pixels.shape[-1]} px (best of {repeats}):")
    for name, spent in best.items():
        print(f"  {name:13s} {spent / batch * 1000:8.0f} ms a pair")
    print(
        f"  vlfuse is {best['transformers'] / best['vlfuse']:.2f} x as fast; largest difference of an output {difference:.1e}"
    )


@torch.no_grad()
def rerank(ours: Model, count: int) -> None:
    """One caption against `count` pictures, one picture against `count` captions; candidates lie encoded in the index."""
    system, matching = ours.system, OBJECTIVES["itm"](ours.system).eval()
    images, captions = pictures(count, system.config.image.image_size), texts(count, *CAPTION)  # type: ignore[union-attr]
    chunks = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
    image = cat(*(system.encode_image(images[chunk]) for chunk in chunks))
    text = cat(*(system.encode_text(captions[chunk]) for chunk in chunks))
    rows, first = torch.arange(count), torch.zeros(count, dtype=torch.long)
    print(f"re-ranking {count} candidates of one query, captions of {CAPTION[0]} to {CAPTION[1]} tokens:")
    for query, pairs in (("caption", torch.stack([rows, first], 1)), ("picture", torch.stack([first, rows], 1))):
        if query == "caption":
            reused, text_state = seconds(lambda: system.encode_text(captions[:1]))
            gallery = Gallery(image, text_state, rows, torch.zeros(0))
        else:
            reused, image_state = seconds(lambda: system.encode_image(images[:1]))
            gallery = Gallery(image_state, text, rows, torch.zeros(0))
        whole, worst = 0.0, 0.0
        for chunk in chunks:  # in turn, so that whatever else the machine does falls on both alike
            spent, scores = seconds(lambda p=pairs[chunk], g=gallery: fused_scores(system, matching, g, p, CHUNK))  # type: ignore[arg-type,misc]
            reused += spent
            spent, expected = seconds(lambda p=pairs[chunk]: full_pass(ours, matching, images, captions, p))  # type: ignore[misc]
            whole += spent
            worst = max(worst, float((scores - expected).abs().max()))
        print(
            f"  query a {query}: full passes {whole:.1f} s, with states {reused:.1f} s: {whole / reused:.2f} x as fast",
            end="",
        )
        print(f"; largest difference of a score {worst:.1e}")


def full_pass(ours: Model, matching, images: Images, captions: Tokens, pairs: Tensor) -> Tensor:
    """[P] scores of pairs [P, 2], everything computed from pixels and ids."""
    picture, caption = pairs.unbind(1)
    tokens = captions[caption]
    length = int(tokens.mask.sum(1).max())
    tokens = Tokens(tokens.ids[:, :length], tokens.mask[:, :length])
    fused = ours.system.fuse(ours.system.encode_image(images[picture]), ours.system.encode_text(tokens))
    return matching.classifier(fused.pooled)[:, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["base", "small"], default="base")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=128)
    args = parser.parse_args()
    theirs, ours = pair_of_models(args.size)
    print(f"BridgeTower, {args.size} size, {torch.get_num_threads()} threads")
    forward(theirs, ours, args.batch, args.repeats)
    del theirs
    rerank(ours, args.candidates)


if __name__ == "__main__":
    main()
