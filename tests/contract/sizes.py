"""Every system at the smallest size that has all its parts, and batches for it.

Shapes: B images, N texts, T tokens.
"""

from dataclasses import replace

import torch
from torch import Tensor

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems import SYSTEMS
from vlfuse.systems.base import Head, Model, System
from vlfuse.systems.bridgetower import BridgeTowerConfig
from vlfuse.systems.fiber import FiberConfig
from vlfuse.tasks import TASKS
from vlfuse.types import Batch, Images, Objects, Texts, Tokens

VOCABULARY, LENGTH, SIDE = 40, 8, 24
ANSWERS = ("yes", "no", "red", "blue", "2")

TINY = {
    "fiber": FiberConfig(
        swin=SwinConfig(embed_dim=8, depths=(1, 2, 2), heads=(1, 2, 4), window=2, drop_path=0.0),
        text=TextConfig(VOCABULARY, width=16, layers=3, heads=2, intermediate=32, positions=LENGTH + 10, dropout=0.0),
        fuse_last=3,
        width=16,
        image_gate=0.5,
        gate=0.5,  # a closed gate would hide the fusion from the tests, and keep it from learning at the first step
        init="scratch",  # the published one is so small here that differences drown in rounding
    ),
    "bridgetower": BridgeTowerConfig(
        image=ViTConfig(width=16, layers=3, heads=2, patch=8, image_size=SIDE),
        text=TextConfig(VOCABULARY, width=16, layers=3, heads=2, intermediate=32, positions=LENGTH + 10, dropout=0.0),
        layers=2,
        width=16,
        heads=2,
        intermediate=32,
        dropout=0.0,
        embed_dim=16,
        init="scratch",
    ),
}


def tiny_system(name: str, seed: int = 0, **changes) -> System:
    system, _ = SYSTEMS[name]
    torch.manual_seed(seed)
    return system(replace(TINY[name], **changes))


def tiny_model(name: str, *heads: str, seed: int = 0) -> Model:
    system = tiny_system(name, seed)
    return Model(system, {head: tiny_head(system, head) for head in heads})


def tiny_head(system: System, name: str) -> Head:
    if name == "vqa":
        return TASKS["vqa"](system, ANSWERS)
    if name == "caption":
        head = TASKS["caption"](system)
        head.spell = lambda ids: "".join(f" w{i}" for i in ids)
        return head
    if name == "grounding":
        # Two channels to a group: the mean of a group of one is zero, where the ReLU behind it turns on rounding.
        return OBJECTIVES["grounding"](system, width=32, blocks=1, levels=3, anchor_scale=2.0)
    return (OBJECTIVES | TASKS)[name](system)


def numbers(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> Images:
    pixels = torch.randn(count, 3, height, width, generator=numbers(seed))
    return Images(pixels, torch.tensor([height, width]).expand(count, 2).clone())


def tokens(count: int, length: int = LENGTH, seed: int = 0) -> Tokens:
    """Texts <s> ... </s> of 3 to `length` tokens, the first of them as long as that."""
    generator = numbers(seed)
    lengths = torch.randint(3, length + 1, (count,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length)[None, :] < lengths[:, None]
    ids = torch.randint(5, VOCABULARY - 1, (count, length), generator=generator)
    ids[:, 0] = 0
    ids[torch.arange(count), lengths - 1] = 2
    return Tokens(torch.where(mask, ids, 1), mask)


def texts(owner: list, seed: int = 0, target: Tensor | None = None, masked: bool = False) -> Texts:
    """One text for each entry of `owner`; masked: ask for every third token."""
    rows = tokens(len(owner), seed=seed)
    whole = Texts(rows, torch.tensor(owner), target, records=tuple(f"text {i}" for i in range(len(owner))))
    if not masked:
        return whole
    asked = (torch.arange(LENGTH)[None, :] % 3 == 1) & rows.mask & (rows.ids > 2)
    return replace(
        whole,
        masked_ids=torch.where(asked, VOCABULARY - 1, rows.ids),
        mask_labels=torch.where(asked, rows.ids, -100),
    )


def batch_for(head: str, count: int = 4, seed: int = 0) -> Batch:
    """`count` texts of the kind that `head` reads, each with its own image (or pair of images)."""
    reads = (OBJECTIVES | TASKS)[head].reads
    generator, own = numbers(seed + 1), list(range(count))
    if head == "pointing":
        grounded = replace(batch_for("grounding", count, seed).grounding, masked_ids=None)  # type: ignore[type-var]
        return Batch(images(count, seed=seed), captions=grounded)
    if reads == "captions":
        return Batch(images(count, seed=seed), captions=texts(own, seed, masked=True))
    if reads == "questions":
        target = torch.zeros(count, len(ANSWERS))
        target[torch.arange(count), torch.arange(count) % len(ANSWERS)] = 1.0
        return Batch(images(count, seed=seed), questions=texts(own, seed, target))
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 8.0, 20.0, 20.0], [4.0, 0.0, 24.0, 6.0], [1.0, 1.0, 2.0, 2.0]])
    if reads == "grounding":  # two objects in each picture, named by tokens 1 and 2
        positive, text = torch.zeros(2 * count, LENGTH), torch.arange(2 * count) // 2
        positive[torch.arange(2 * count), 1 + torch.arange(2 * count) % 2] = 1.0
        objects = Objects(boxes[torch.arange(2 * count) % 3], positive, text)
        return Batch(images(count, seed=seed), grounding=replace(texts(own, seed), objects=objects))
    if reads == "regions":
        return Batch(images(count, seed=seed), regions=texts(own, seed, boxes[torch.arange(count) % 4]))
    task = TASKS[head]
    target = torch.randperm(count, generator=generator) % len(task.labels)
    if task.pictures == 1:
        return Batch(images(count, seed=seed), statements=texts(own, seed, target))
    pairs = [[2 * i, 2 * i + 1] for i in own]
    return Batch(images(2 * count, seed=seed), statements=texts(pairs, seed, target))
