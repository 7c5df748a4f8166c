"""Reading pieces of local or remote files, from any process; writing small ones whole."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import fsspec

from vlfuse.types import DataError


class File:
    """A file of any fsspec address, opened once in each process: forked workers must not share one file position."""

    def __init__(self, path: str):
        self.path = path
        self._handle: Any = None
        self._process = -1

    def open(self) -> Any:
        if self._process != os.getpid():
            try:
                system, path = fsspec.core.url_to_fs(self.path)
                # Blocks of 1 MiB keep random reads of a remote file from fetching much more than they need.
                self._handle = system.open(path, "rb", block_size=2**20)
            except FileNotFoundError as error:
                raise DataError(f"there is no file {self.path}; check the path") from error
            self._process = os.getpid()
        return self._handle

    def read(self, offset: int, length: int) -> bytes:
        handle = self.open()
        handle.seek(offset)
        return handle.read(length)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_handle": None, "_process": -1}


def joined(files: str) -> list[str]:
    """The files of `A.jsonl+B.jsonl`. A plus elsewhere belongs to a name, as in refcoco+/val.jsonl."""
    return re.split(r"(?<=\.jsonl)\+|(?<=\.json)\+", files)


def expand(pattern: str) -> list[str]:
    """The files a pattern names, in order: `{000..012}` counts, `*`, `?` and `[...]` match what exists.

    Raises DataError when nothing matches.
    """
    names = _count(pattern)
    if any(mark in name for name in names for mark in "*?["):
        names = [match for name in names for match in _glob(name)]
    if not names:
        raise DataError(
            f"no file matches {pattern}; check the path (shards are written data-{{000000..000009}}.tar or data-*.tar)"
        )
    return names


def _glob(pattern: str) -> list[str]:
    system, path = fsspec.core.url_to_fs(pattern)
    return sorted(system.unstrip_protocol(match) if "://" in pattern else str(match) for match in system.glob(path))


def _count(pattern: str) -> list[str]:
    before, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    inside, _, after = rest.partition("}")
    first, dots, last = inside.partition("..")
    if not dots or not first.isdigit() or not last.isdigit() or int(first) > int(last):
        raise DataError(f"cannot count '{{{inside}}}' in {pattern}; ranges are written {{000000..000009}}")
    width = len(first) if first.startswith("0") else 0
    return [name for i in range(int(first), int(last) + 1) for name in _count(f"{before}{i:0{width}d}{after}")]


def write_json(path: Path, content: Any) -> None:
    """In one step, so that a broken-off write leaves no file half written; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
