"""What a converter did, and the steps all of them share."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlfuse.data.schema import write_jsonl
from vlfuse.types import DataError, Sample


@dataclass
class Report:
    """Rows of the source read and kept, and why others were dropped; samples written to each file."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    written: dict[str, int] = field(default_factory=dict)

    def write(self, path: Path, samples: Iterable[Sample]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written[str(path)] = write_jsonl(str(path), samples)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file. Raises DataError with the line that is not one."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not valid JSON: {error.msg}") from error


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the source folder") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error


def find(source: Path, pattern: str, what: str) -> list[Path]:
    """The files below `source` that match; DataError where there are none."""
    found = sorted(source.glob(pattern))
    if not found:
        raise DataError(f"{source} has no {pattern}: this is not a folder of {what}")
    return found


def extract_pictures(archives: Iterable[Path], out: Path) -> set[str]:
    """Unpack the members of tar archives into one folder, flat; returns their names."""
    out.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    for path in archives:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    name = Path(member.name).name  # no folders: an archive cannot write outside `out`
                    (out / name).write_bytes(content.read())
                    names.add(name)
    return names
