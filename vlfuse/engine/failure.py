"""What is kept of a step whose loss is not a number, so that it can be looked at."""

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from vlfuse.types import Batch, Images, Objects, Texts, Tokens


def keep_batches(folder: Path, batches: Sequence[Batch], rank: int, report: dict[str, Any]) -> Path:
    """Write the batches of a step (`batch-<pass>-rank<r>.safetensors`)
    and `report-rank<r>.json` with the samples' ids."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, batch in enumerate(batches):
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in named_tensors(batch).items()}
        save_file(tensors, folder / f"batch-{number}-rank{rank}.safetensors")
        samples.append([sample.origin or sample.id for sample in batch.samples])
    record = {**report, "samples": samples}
    (folder / f"report-rank{rank}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def named_tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor in a batch by its path: `images.pixels`, `captions.tokens.ids`."""
    if isinstance(value, Tensor):
        return {prefix: value}
    if not is_dataclass(value):
        return {}
    found: dict[str, Tensor] = {}
    for part in fields(value):
        found |= named_tensors(getattr(value, part.name), f"{prefix}.{part.name}" if prefix else part.name)
    return found


def read_batch(path: Path) -> Batch:
    """A batch that `keep_batches` wrote, without its samples."""
    tensors = load_file(path)

    def texts(kind: str) -> Texts | None:
        if f"{kind}.tokens.ids" not in tensors:
            return None
        tokens = Tokens(tensors[f"{kind}.tokens.ids"], tensors[f"{kind}.tokens.mask"])
        target, masked, labels = (tensors.get(f"{kind}.{name}") for name in ("target", "masked_ids", "mask_labels"))
        named = [tensors.get(f"{kind}.objects.{field.name}") for field in fields(Objects)]
        objects = Objects(*named) if all(tensor is not None for tensor in named) else None  # type: ignore[arg-type]
        return Texts(tokens, tensors[f"{kind}.owner"], target, masked, labels, objects=objects)

    images = Images(tensors["images.pixels"], tensors["images.sizes"], tensors.get("images.stored"))
    kinds = ("captions", "questions", "statements", "regions", "grounding")
    return Batch(images, **{kind: texts(kind) for kind in kinds})  # type: ignore[arg-type]
