"""A model folder with every head, small enough to make in a moment: its answers mean nothing, their form does."""

from pathlib import Path

import torch

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints.config import config_to_dict
from vlfuse.checkpoints.folder import ModelConfig, Preprocessing, build_model, save_folder
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.recipes.sizes import Size
from vlfuse.systems.fiber import FiberConfig

HEADS = {
    "mlm": {},
    "itc": {},
    "itm": {},
    "vqa": {"answers": ["yes", "no", "2"]},
    "nlvr2": {},
    "nlvr": {},
    "entailment": {},
    "caption": {"never": [3, 903]},  # unknown, mask
}
GROUNDING = {"width": 16, "blocks": 1, "levels": 2, "anchor_scale": 4.0}

# The same size as arguments of `vlfuse train`.
FLAGS = [
    "--config.swin.embed-dim",
    "12",
    "--config.text.width",
    "16",
    "--config.text.intermediate",
    "32",
    "--config.width",
    "16",
]


def micro_size() -> Size:
    words = Tokenizer.load("scenes").vocab_size
    text = TextConfig(words, width=16, layers=3, heads=2, intermediate=32, positions=66, dropout=0.0)
    swin = SwinConfig(embed_dim=12, depths=(1, 2), heads=(1, 2), window=8, drop_path=0.0)
    config = FiberConfig(swin, text, fuse_last=2, width=16, gate=1.0, image_gate=1.0, init="scratch")
    return Size(config, "scenes", image_size=64, max_text=40, pretrain_lr=1e-3, finetune_lr=1e-3)


def micro_model(folder: Path, *heads: str) -> Path:
    """A released model with the named heads (all of HEADS, if none is named)."""
    torch.manual_seed(0)
    given, size = Preprocessing(64, 40), micro_size()
    settings = {name: (HEADS | {"grounding": GROUNDING})[name] for name in heads or HEADS}
    model = build_model(ModelConfig("fiber", config_to_dict(size.config), settings, given))
    return save_folder(folder, model, Tokenizer.load("scenes"), given)
