"""BridgeTower: its sizes, its pre-training, and the recipe that learns generated scenes as `fiber-nano` does."""

from collections.abc import Callable
from dataclasses import replace

from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig
from vlfuse.checkpoints.config import config_to_dict, unknown
from vlfuse.checkpoints.folder import CLIP_MEAN, CLIP_STD
from vlfuse.engine.run import Run
from vlfuse.fusion.bridge import BridgeKind
from vlfuse.recipes.asked import Asked, fresh
from vlfuse.recipes.nano import fiber_nano
from vlfuse.recipes.pretrain import on_captions
from vlfuse.recipes.sizes import Size, size_of
from vlfuse.systems.bridgetower import BridgeTowerConfig
from vlfuse.types import ConfigError

PUBLISHED = {"mlm": 1.0, "itm": 1.0}  # summed with equal weights; the contrastive loss is for retrieval alone


def nano() -> Size:
    """4.1 M parameters and about the time of `fiber-nano` a step:
    learns generated scenes from nothing in minutes on a CPU."""
    like = size_of("nano")
    image = ViTConfig(width=128, layers=6, heads=4, patch=8, image_size=like.image_size, stem="convolution")
    config = BridgeTowerConfig(
        image,
        like.config.text,
        layers=3,
        width=128,
        heads=4,
        intermediate=256,
        dropout=0.0,
        embed_dim=128,
        init="scratch",
    )
    return replace(like, config=config, system="bridgetower")


def base() -> Size:
    """As published, at the resolution of its pre-training."""
    return Size(BridgeTowerConfig(), "roberta-base", 288, 50, 1e-5, 1e-5, CLIP_MEAN, CLIP_STD, "bridgetower")


def large() -> Size:
    """As published: CLIP's ViT-L/14 and RoBERTa-large."""
    image = ViTConfig(width=1024, layers=24, heads=16, patch=14, image_size=294)
    text = TextConfig(width=1024, layers=24, heads=16, intermediate=4096)
    config = BridgeTowerConfig(image, text, width=1024, heads=16, intermediate=4096)
    return Size(config, "roberta-large", 294, 50, 1e-5, 4e-6, CLIP_MEAN, CLIP_STD, "bridgetower")


SIZES: dict[str, Callable[[], Size]] = {"nano": nano, "base": base, "large": large}


def bridgetower_size(name: str) -> Size:
    if name not in SIZES:
        raise ConfigError(unknown(f"BridgeTower's size '{name}'", name, SIZES))
    return SIZES[name]()


def bridgetower(asked: Asked) -> Run:
    """Pre-train BridgeTower on pictures with captions: masked language modelling and matching."""
    name = asked.size_name
    size = bridgetower_size(name)
    return Run(
        recipe="bridgetower",
        out=asked.folder("bridgetower"),
        heads={"itm": {"negatives": "random"}},
        crop=None if name == "nano" else True,
        **on_captions(asked, size, PUBLISHED),
        **(asked.model() if asked.init else fresh(size)),
    )


def bridgetower_nano(
    out: str = "runs/bridgetower-nano",
    steps: int = 5200,
    init: str = "",
    bridge: BridgeKind = "add",
) -> Run:
    """Train `bridgetower-nano` on generated scenes, on the data and by the schedule of `fiber-nano`.

    Args:
        out: Folder of the run.
        steps: Updates.
        init: A model to go on from; without it a fresh one.
        bridge: How the backbones' layers enter the cross-modal ones; none: only their last layers do.
    """
    run = replace(fiber_nano(out, steps, init), recipe="bridgetower-nano")
    if init:
        return run
    chosen = nano()
    return replace(run, system=chosen.system, config=config_to_dict(replace(chosen.config, bridge=bridge)))
