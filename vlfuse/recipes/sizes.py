"""Sizes of FIBER: one dial for depth, width, resolution, vocabulary and learning rate."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints.config import unknown
from vlfuse.checkpoints.hub import model_config
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.systems.fiber import FiberConfig
from vlfuse.types import ConfigError


@dataclass(frozen=True)
class Size:
    """A model, what it reads (pictures of `image_size` pixels a side, texts of at most `max_text` tokens), and its rates."""

    config: Any  # of the system
    tokenizer: str
    image_size: int
    max_text: int
    pretrain_lr: float
    finetune_lr: float
    mean: tuple[float, ...] = ()  # of the pictures, per channel; empty: ImageNet's, as published
    std: tuple[float, ...] = ()
    system: str = "fiber"


def nano() -> Size:
    """2.8 M parameters: learns generated scenes from nothing in minutes on a CPU."""
    text = TextConfig(
        Tokenizer.load("scenes").vocab_size, width=128, layers=6, heads=4, intermediate=512, positions=130, dropout=0.0
    )
    swin = SwinConfig(
        embed_dim=48,
        depths=(1, 4, 1),
        heads=(3, 3, 6),
        window=8,
        patch=4,
        stem="convolution",
        mlp_ratio=2.0,
        drop_path=0.0,
        position_grid=16,
    )
    config = FiberConfig(swin, text, fuse_last=4, width=128, gate=1.0, image_gate=1.0, read_norm=True, init="scratch")
    # Scenes are bright: with ImageNet's statistics nearly all that a token says would be "bright".
    bright: dict[str, Any] = {"mean": (0.82, 0.82, 0.82), "std": (0.2, 0.2, 0.2)}
    return Size(config, "scenes", image_size=64, max_text=64, pretrain_lr=1e-3, finetune_lr=5e-4, **bright)


def tiny() -> Size:
    """For one GPU: photographs at 224 px, or a fair test of an idea before the base size."""
    swin = SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
    config = FiberConfig(swin, TextConfig(width=384, layers=6, heads=6, intermediate=1536), fuse_last=4, width=384)
    return Size(config, "roberta-base", image_size=224, max_text=40, pretrain_lr=3e-4, finetune_lr=1e-4)


def base() -> Size:
    """FIBER-Base as published, at the resolution of its pre-training."""
    return Size(FiberConfig(), "roberta-base", image_size=384, max_text=40, pretrain_lr=1e-5, finetune_lr=2e-5)


SIZES: dict[str, Callable[[], Size]] = {"nano": nano, "tiny": tiny, "base": base}


def size_of(name: str) -> Size:
    if name not in SIZES:
        raise ConfigError(unknown(f"size '{name}'", name, SIZES))
    return SIZES[name]()


def size_like(init: str) -> str:
    """The named size nearest to that of a released model, by the width of its text side: whose hyper-parameters to use."""
    width = model_config(init).config["text"]["width"]
    widths = {"nano": 128, "tiny": 384, "base": 768}
    return min(widths, key=lambda name: abs(log(widths[name] / width)))
