"""One FIBER pre-training step (MLM + ITC + ITM) with one shared image trunk, against a fresh image pass for every loss.

Each way runs in its own process, so that peak memory is its own. Both compute the same losses; the gradients are compared.

    python benchmarks/pretrain_step.py [--size base|small] [--batch 4] [--repeats 2]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.objectives import OBJECTIVES
from vlfuse.objectives.itm import draw_negatives
from vlfuse.systems.base import Model, States
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.types import Batch, Images, Texts, Tokens, cat

SIZES = {
    "base": (
        FiberConfig(swin=SwinConfig(drop_path=0.0), text=TextConfig(dropout=0.0), gate=0.5, image_gate=0.5),
        384,
        40,
    ),
    "small": (
        FiberConfig(
            swin=SwinConfig(embed_dim=32, depths=(2, 2, 6, 2), heads=(1, 2, 4, 8), window=6, drop_path=0.0),
            text=TextConfig(vocab_size=2000, width=128, layers=6, heads=4, intermediate=512, dropout=0.0),
            fuse_last=3,
            width=128,
            gate=0.5,
            image_gate=0.5,
        ),
        192,
        24,
    ),
}


def build(size: str, batch: int) -> tuple[Model, Batch]:
    torch.manual_seed(0)
    config, pixels, length = SIZES[size]
    system = Fiber(config)
    model = Model(system, {name: OBJECTIVES[name](system) for name in ("mlm", "itc", "itm")})
    ids = torch.randint(4, config.text.vocab_size, (batch, length))
    labels = torch.where(torch.rand(batch, length) < 0.15, ids, -100)
    masked = ids.masked_fill(labels >= 0, 4)
    tokens = Tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    captions = Texts(tokens, torch.arange(batch), masked_ids=masked, mask_labels=labels)
    images = Images(torch.randn(batch, 3, pixels, pixels), torch.full((batch, 2), pixels))
    return model, Batch(images, captions=captions)


def shared(model: Model, batch: Batch) -> dict[str, Tensor]:
    out = model(batch, generator=torch.Generator().manual_seed(1))
    return {name: parts["loss"] for name, parts in out.items()}


def fresh(model: Model, batch: Batch) -> dict[str, Tensor]:
    """The reference's plan: a full pass over the images for MLM and for ITC, and one over three times as many for ITM."""
    system, captions = model.system, batch.captions
    assert captions is not None
    losses = {name: model(batch, heads=(name,))[name]["loss"] for name in ("mlm", "itc")}
    states = States(system, batch)
    with torch.no_grad():
        logits = system.similarity(states.image_embedding(), states.text_embedding("captions"))
    positives = torch.eye(len(logits), dtype=torch.bool)
    generator = torch.Generator().manual_seed(1)
    negative_image = draw_negatives(logits.T, positives, generator)
    negative_text = draw_negatives(logits, positives, generator)
    images = cat(batch.images, batch.images, batch.images[negative_image])
    tokens = cat(captions.tokens, captions.tokens[negative_text], captions.tokens)
    pooled = system.fuse(system.encode_image(images), system.encode_text(tokens)).pooled
    labels = torch.tensor([1, 0, 0]).repeat_interleave(len(logits))
    losses["itm"] = F.cross_entropy(model.head("itm").classifier(pooled), labels)  # type: ignore[operator]
    return losses


def measure(way: str, size: str, batch: int, repeats: int, out: Path) -> None:
    model, data = build(size, batch)
    seconds = []
    for _ in range(repeats):
        model.zero_grad()
        start = time.perf_counter()
        losses = {"shared": shared, "fresh": fresh}[way](model, data)
        torch.stack(list(losses.values())).sum().backward()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # A gradient is compared by its norm and by its product with fixed pseudo-random numbers.
    sketch = {}
    for name, p in model.named_parameters():
        if p.grad is not None:
            probe = torch.cos(torch.arange(p.numel(), dtype=torch.float32)).view_as(p)
            sketch[name] = [p.grad.norm().item(), (p.grad * probe).sum().item()]
    result = {
        "seconds": min(seconds),
        "gib": peak,
        "losses": {k: v.item() for k, v in losses.items()},
        "sketch": sketch,
    }
    out.write_text(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--way", choices=["shared", "fresh"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args, _ = parser.parse_known_args()  # those of the other benchmark of `make bench` are not for this one
    if args.way:
        return measure(args.way, args.size, args.batch, args.repeats, args.out)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("fresh", "shared"):
            out = Path(folder) / f"{way}.json"
            command = [sys.executable, __file__, "--way", way, "--out", str(out)]
            command += ["--size", args.size, "--batch", str(args.batch), "--repeats", str(args.repeats)]
            subprocess.run(command, check=True)
            results[way] = json.loads(out.read_text())
    old, new = results["fresh"], results["shared"]
    worst = max(
        abs(a - b) / (old["sketch"][name][0] + 1e-4)
        for name in old["sketch"]
        for a, b in zip(old["sketch"][name], new["sketch"][name], strict=True)
    )
    print(f"pre-training step, {args.size} size, batch {args.batch}, {torch.get_num_threads()} threads")
    for way, r in results.items():
        losses = "  ".join(f"{k} {v:.5f}" for k, v in r["losses"].items())
        print(f"  {way:7s} {r['seconds']:7.2f} s   {r['gib']:6.2f} GiB peak   {losses}")
    print(
        f"  shared trunk: {old['seconds'] / new['seconds']:.2f} x as fast, {100 * new['gib'] / old['gib']:.0f} % of the memory"
    )
    print(f"  largest relative difference of a gradient: {worst:.1e}")


if __name__ == "__main__":
    main()
