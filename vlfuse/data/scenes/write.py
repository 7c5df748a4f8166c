"""Generated scenes as files: a folder of pictures and one JSONL file in the sample schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.progress import track

from vlfuse.data.scenes.dataset import SceneDataset
from vlfuse.data.schema import write_jsonl
from vlfuse.types import DataError, Sample


def write_scenes(
    out: str | Path,
    n: int,
    seed: int = 0,
    split: str = "train",
    size: int = 96,
    paired: bool = False,
    entailment: bool = False,
    trays: bool = False,
) -> Path:
    """Write `n` samples to `out/images/*.png` and `out/data.jsonl`, showing progress; returns the JSONL file.

    The options are those of SceneDataset. Raises DataError where `out` already holds a data set.
    """
    out = Path(out)
    file = out / "data.jsonl"
    if file.exists():
        raise DataError(f"{file} exists; name another folder or remove it first")
    dataset = SceneDataset(n, seed, split, size, paired, entailment, trays)
    (out / "images").mkdir(parents=True, exist_ok=True)

    def saved() -> Iterator[Sample]:
        for i in track(range(n), description=f"scenes ({split})"):
            sample = dataset[i]
            ends = ("",) if len(sample.images) == 1 else ("-left", "-right")
            paths = [f"{out.as_posix()}/images/{i:06d}{end}.png" for end in ends]
            for picture, path in zip(sample.images, paths, strict=True):
                Image.fromarray(picture).save(path)  # type: ignore[arg-type]
            yield replace(sample, images=tuple(paths))

    write_jsonl(file.as_posix(), saved())
    return file
