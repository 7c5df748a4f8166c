"""`vlfuse export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from vlfuse.checkpoints.bridgetower_hf import export_huggingface
from vlfuse.checkpoints.hub import load_model


def run(model: tyro.conf.Positional[str], out: Path, format: Literal["huggingface"] = "huggingface") -> None:
    """Write a BridgeTower as a folder that Hugging Face transformers loads: `BridgeTowerModel.from_pretrained(OUT)`.

    Args:
        model: A name, a folder or a hub id.
        out: The folder to write.
        format: Whose layout to write.
    """
    loaded = load_model(model)
    for note in export_huggingface(loaded.model, out, loaded.tokenizer, loaded.preprocessing):
        print(f"note: {note}")
    print(f"wrote {out}")


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse export", args=arguments)
