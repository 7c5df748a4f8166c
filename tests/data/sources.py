"""Small datasets on disk for the tests of reading."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """size: (width, height)."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def record(number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "image": f"images/{number}.png",
        "captions": [f"number {number} of them", f"caption {number}"],
        "questions": [{"question": f"is this {number}?", "answers": ["yes"] * 10}],
        "statements": [{"text": f"it is {number}", "label": "true" if number % 2 else "false"}],
    }


def jsonl(folder: Path, number: int, broken: dict[int, str] | None = None) -> str:
    """A dataset of `number` samples; `broken` replaces lines (counted from 0) by text that is no usable record."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(number):
        (folder / "images" / f"{i}.png").write_bytes(png(i))
        lines.append((broken or {}).get(i, json.dumps(record(i))))
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def tar(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)
