"""Captioning by beam search: cached keys and values against running the decoder on the whole prefix at every step.

All ways do the same search on the same encoded images, and their captions are compared:

* cached: one token of each hypothesis a step; keys and values of the image once for all hypotheses (`CachedWriter`);
* rerun: the decoder as training runs it, on the whole prefix of every hypothesis at every step;
* last word: as rerun, but only the last word of a prefix reaches the vocabulary;
* image kept: as last word, and the image's keys and values are computed once for all, as the cache does.

    python benchmarks/caption.py [--size base|small] [--images 1] [--beam 5] [--tokens 20] [--repeats 3]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pretrain_step import SIZES
from torch import Tensor

from vlfuse.systems.fiber import Fiber
from vlfuse.systems.fiber_decoder import FiberDecoder
from vlfuse.tasks.captioning import CachedWriter, Captioning
from vlfuse.tasks.search import Decoding, Specials, Writer, Written, write
from vlfuse.types import Images, ImageState, Rows


@dataclass
class RerunWriter:
    """Keeps nothing but the words, and the image's memory if it is given one. See `vlfuse.tasks.search.Writer`.

    last: score the word after the prefix alone, not after each of its words.
    """

    head: Captioning
    system: Fiber
    top: ImageState  # the images, encoded to the top of the backbone
    memory: Rows | None = None
    last: bool = False
    ids: Tensor | None = None

    def next(self, ids: Tensor) -> Tensor:
        self.ids = ids if self.ids is None else torch.cat([self.ids, ids], dim=1)
        memory, decoder = self.memory, self.head.writer
        assert isinstance(decoder, FiberDecoder)
        if memory is None:
            each = torch.arange(len(self.top)).repeat_interleave(len(self.ids) // len(self.top))
            memory = decoder.keys_values(self.system, self.top[each])
        hidden = decoder(self.system, self.ids, memory)
        return self.head.logits(hidden[:, -1:] if self.last else hidden)[:, -1]

    def select(self, rows: Tensor) -> None:
        assert self.ids is not None
        self.ids = self.ids[rows]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    for name, value in (("images", 1), ("beam", 5), ("tokens", 20), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    # `make bench ARGS=...` gives both benchmarks the same options; those of the other are not for this one.
    args, _ = parser.parse_known_args()
    torch.manual_seed(0)
    config, pixels, _ = SIZES[args.size]
    system = Fiber(config).eval()
    head = Captioning(system).eval()
    decoder = head.writer
    assert isinstance(decoder, FiberDecoder)
    images = Images(torch.randn(args.images, 3, pixels, pixels), torch.full((args.images, 2), pixels))
    top = system.image_alone(system.encode_image(images))
    prompt = torch.zeros(args.images, 1, dtype=torch.long)
    decoding = Decoding(beam=args.beam, max_tokens=args.tokens)
    specials = Specials(start=0, end=2, pad=1, never=(2,))  # no end: every caption has all its tokens

    ways: dict[str, Callable[[], Writer]] = {
        "cached": lambda: CachedWriter(head, system, decoder.keys_values(system, top), args.tokens + 1),
        "rerun": lambda: RerunWriter(head, system, top),
        "last word": lambda: RerunWriter(head, system, top, last=True),
        "image kept": lambda: RerunWriter(head, system, top, decoder.keys_values(system, top), last=True),
    }
    print(f"captioning, {args.size} size, {args.images} images of {pixels} px, beam {args.beam}, {args.tokens} tokens, "
          f"{torch.get_num_threads()} threads; images encoded beforehand")  # fmt: skip
    seconds: dict[str, float] = {}
    found: dict[str, Written] = {}
    for way in [*ways] * args.repeats:  # by turns, so that what else the machine does falls on all alike
        start = time.perf_counter()
        found[way] = write(ways[way](), prompt, decoding, specials)
        seconds[way] = min(seconds.get(way, float("inf")), time.perf_counter() - start)
    for way in ways:
        times = "" if way == "cached" else f"   cached is {seconds[way] / seconds['cached']:.1f} x as fast"
        print(f"  {way:10s} {seconds[way]:7.2f} s{times}", flush=True)
    same = all(torch.equal(found[way].ids, found["cached"].ids) for way in found)
    apart = max(float((found[way].scores - found["cached"].scores).abs().max()) for way in found)
    print(f"  captions {'are the same' if same else 'DIFFER'}; scores differ by at most {apart:.1e}")


if __name__ == "__main__":
    main()
