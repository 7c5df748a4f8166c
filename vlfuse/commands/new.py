"""`vlfuse new`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import tyro

from vlfuse.checkpoints.backbones import init_backbones
from vlfuse.checkpoints.config import config_to_dict
from vlfuse.checkpoints.folder import ModelConfig, Preprocessing, build_model, save_folder
from vlfuse.checkpoints.mapping import report_text
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.recipes.bridgetower import bridgetower_size
from vlfuse.recipes.sizes import size_of


def run(
    out: Path,
    system: Literal["fiber", "bridgetower"] = "fiber",
    size: Literal["nano", "tiny", "base", "large"] = "base",
    image: Path | None = None,
    text: Path | None = None,
    tokenizer: str = "",
    seed: int = 0,
    unsafe_pickle: bool = False,
) -> None:
    """Make a fresh model without heads, to start training from: `vlfuse train fiber-coarse --init OUT`.

    Args:
        out: The model folder to write.
        system: What the model is.
        size: Of the model.
        image: Weights for its image side: Swin (Microsoft's or timm's layout) for FIBER, CLIP (OpenAI's) for BridgeTower.
        text: RoBERTa weights for its text side (transformers' layout): a file or a folder.
        tokenizer: Folder or hub id; by default that of the size.
        seed: Of what stays random.
        unsafe_pickle: Let the files run code on this machine while they are read; only for files you trust.
    """
    chosen = size_of(size) if system == "fiber" else bridgetower_size(size)
    words = Tokenizer.load(tokenizer or chosen.tokenizer)
    preprocessing = Preprocessing(chosen.image_size, chosen.max_text)
    if chosen.mean:
        preprocessing = replace(preprocessing, mean=chosen.mean, std=chosen.std)
    torch.manual_seed(seed)
    model = build_model(ModelConfig(system, config_to_dict(chosen.config), {}, preprocessing))
    if image or text:
        print(report_text(init_backbones(model, image, text, unsafe_pickle)))
    save_folder(out, model, words, preprocessing)
    print(f"wrote {out}")


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse new", args=arguments)
