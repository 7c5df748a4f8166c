"""`vlfuse import`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from vlfuse.checkpoints.importing import import_file
from vlfuse.checkpoints.mapping import report_text


def run(
    file: tyro.conf.Positional[Path],
    out: Path,
    format: str = "fiber-coarse",
    answers: Path | None = None,
    resolution: int | None = None,
    text_heads: int | None = None,
    tokenizer: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    unsafe_pickle: bool = False,
) -> None:
    """Make a model folder of a checkpoint of other code, and report on every key.

    Args:
        file: A torch file, a safetensors file, an index of shards, or a folder with one of them.
        out: The model folder to write.
        format: What the file is: fiber-coarse, fiber-fine or bridgetower.
        answers: Labels of a VQA classifier, one a line, in the classifier's order.
        resolution: Image side to use the model at; by default the one it was trained at.
        text_heads: Attention heads of the text encoder; needed only where its width is no multiple of 64.
        tokenizer: Folder or hub id; by default the format's own.
        dtype: How matrices are stored.
        unsafe_pickle: Let the file run code on this machine while it is read; only for files you trust.
    """
    report = import_file(
        file, format, out,
        answers=answers, resolution=resolution, text_heads=text_heads, tokenizer=tokenizer, dtype=dtype,
        unsafe_pickle=unsafe_pickle,
    )  # fmt: skip
    print(report_text(report))
    print(f"wrote {out}")


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse import", args=arguments)
