"""What a converter did, and the steps all of them share."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlfuse.data.boxes import tidy
from vlfuse.data.readers import PICTURES
from vlfuse.data.schema import write_jsonl
from vlfuse.types import Box, DataError, Sample


@dataclass
class Report:
    """Rows of the source read and kept, and why others were dropped; boxes that were cut or left out, and why; samples
    written to each file."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    written: dict[str, int] = field(default_factory=dict)
    boxes: Counter[str] = field(default_factory=Counter)

    def keep(self) -> bool:
        """Count a row as read and kept."""
        self.read, self.kept = self.read + 1, self.kept + 1
        return True

    def drop(self, reason: str, number: int = 1) -> None:
        """Count rows as read and dropped."""
        self.read += number
        if number:
            self.dropped[reason] += number

    def box(self, box: Any, width: float, height: float) -> Box | None:
        """[x0, y0, x1, y1] cut at the border of the picture, or None; what was wrong with it is counted."""
        tidied, trouble = tidy(box, width, height)
        if trouble:
            self.boxes[trouble] += 1
        return tidied

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


class Pictures:
    """Every picture in a folder and the folders in it, to be found by what annotations call it."""

    def __init__(self, source: Path):
        self.paths: dict[str, list[Path]] = {}
        for path in sorted(source.rglob("*")):
            if path.suffix.lower().removeprefix(".") in PICTURES:
                self.paths.setdefault(path.name, []).append(path)

    def find(self, name: str) -> Path | None:
        """The picture with that file name; of several, the one whose folders are those that `name` gives, too.

        None where there is none. Raises DataError where several different ones could be meant.
        """
        found = self.paths.get(Path(name).name, [])
        if len(found) > 1:
            found = [path for path in found if path.as_posix().endswith(f"/{name.lstrip('./')}")] or found
        if len({path.stat().st_size for path in found}) > 1:
            raise DataError(
                f"'{name}' could be any of {', '.join(map(str, found[:4]))}; keep only one of these in the folder"
            )
        return found[0] if found else None


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
