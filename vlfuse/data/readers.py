"""Datasets as maps from an index to a `Sample`: JSONL files, tar shards, COCO files, generated scenes."""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from vlfuse.data.coco import CocoDataset
from vlfuse.data.files import File, expand, joined
from vlfuse.data.problems import SampleError
from vlfuse.data.schema import parse_sample
from vlfuse.types import ConfigError, DataError, Sample


class Dataset(Protocol):
    """A fixed number of samples, each readable alone and in any order.
    `dataset[i]` raises SampleError where i is unusable."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


def decode_record(data: bytes, origin: str) -> Any:
    """JSON bytes -> object; SampleError names what is wrong and where in the text."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SampleError("record", origin, f"not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise SampleError("record", origin, f"not valid JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise SampleError("record", origin, "not a record: its JSON is nested too deeply") from error


class JsonlDataset:
    """One record a line; image paths are relative to the file. Only the lines' positions are held in memory."""

    def __init__(self, path: str):
        self.path = path
        self.file = File(path)
        self.root = posixpath.dirname(path)
        starts, lines = array("q"), array("q")
        position = 0
        for number, line in enumerate(self.file.open(), start=1):
            if not line.isspace():
                starts.append(position)
                lines.append(number)
            position += len(line)
        if not starts:
            raise DataError(f"{path} is empty; a dataset has one JSON record a line")
        self.starts = np.frombuffer(starts, dtype=np.int64)
        self.ends = np.append(self.starts[1:], position)  # blank lines behind a record are harmless white space
        self.lines = np.frombuffer(lines, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Sample:
        origin = f"{self.path}:{self.lines[index]}"
        start, end = int(self.starts[index]), int(self.ends[index])
        return parse_sample(decode_record(self.file.read(start, end - start), origin), origin, self.root)


class JoinedDataset:
    """Several datasets, one behind the other."""

    def __init__(self, parts: Sequence[Dataset]):
        self.parts = tuple(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Sample:
        part = int(np.searchsorted(self.ends, index, side="right"))
        return self.parts[part][index - (int(self.ends[part - 1]) if part else 0)]


PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})


class TarDataset:
    """Uncompressed tar shards in WebDataset layout: `000123.jpg` [+ `000123.1.jpg`] + `000123.json`.

    Members that share the name before the first dot are one sample. The JSON is a record whose pictures are the members
    beside it; where there is none, `000123.txt` holds one caption. Only members' positions are held in memory.
    """

    def __init__(self, shards: str | Sequence[str]):
        """shards: paths or patterns, see `files.expand`."""
        patterns = [shards] if isinstance(shards, str) else shards
        self.files = [File(path) for pattern in patterns for path in expand(pattern)]
        self.names: list[str] = []
        rows: list[
            list[int]
        ] = []  # shard, then (offset, size) of the record and of up to two pictures; -1 where absent
        for number, file in enumerate(self.files):
            for name, row in _index_shard(file):
                self.names.append(name)
                rows.append([number, *row])
        if not rows:
            raise DataError(f"{shards} holds no samples; a sample is `NAME.jpg` and `NAME.json` in one shard")
        self.rows = np.array(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        shard, *places = (int(value) for value in self.rows[index])
        file, name = self.files[shard], self.names[index]
        origin = f"{file.path}:{name}"
        pieces = [file.read(at, size) if at >= 0 else None for at, size in zip(places[::2], places[1::2], strict=True)]
        data, *pictures = pieces
        pictures = tuple(picture for picture in pictures if picture is not None)
        if not pictures:
            raise SampleError(
                "missing image", origin, f"no picture of this name ({', '.join(sorted(PICTURES))}) in the shard"
            )
        if data is None:
            raise SampleError("record", origin, "no .json or .txt of this name in the shard")
        if name.endswith(".txt"):
            record = {"captions": [data.decode("utf-8", errors="replace").strip()]}
        else:
            record = decode_record(data, origin)
        if isinstance(record, dict):
            record = {"id": posixpath.basename(name).partition(".")[0]} | record
            record.pop("image", None)
            record["images"] = [name] * len(pictures)  # placeholders that pass the check; the bytes replace them below
        sample = parse_sample(record, origin)
        return replace(sample, images=pictures)


def _index_shard(file: File) -> list[tuple[str, list[int]]]:
    """(name of the member to report, positions) of each sample of a shard, in order of first appearance."""
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(fileobj=file.open(), mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    folder, base = posixpath.split(member.name)
                    key, _, extension = base.partition(".")
                    group = groups.setdefault(posixpath.join(folder, key), {})
                    group[extension.lower()] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise DataError(
            f"{file.path} is not a plain tar archive ({error}); shards are uncompressed .tar files"
        ) from error
    samples = []
    for key, group in groups.items():
        pictures = [group[e] for e in sorted(group, key=_picture_order) if e.rpartition(".")[2] in PICTURES]
        if len(pictures) > 2:
            raise DataError(f"{file.path}: sample {key} has {len(pictures)} pictures; one or two are allowed")
        kind = next((kind for kind in ("json", "txt") if kind in group), "")
        row = [group.get(kind, (-1, 0)), *pictures, *[(-1, 0)] * (2 - len(pictures))]
        samples.append((f"{key}.{kind}" if kind else key, [number for place in row for number in place]))
    return samples


def _picture_order(extension: str) -> tuple[int, str]:
    """`jpg` comes before `1.jpg`."""
    return (extension.count("."), extension)


SCENE_OPTIONS = {
    "seed": int,
    "split": str,
    "size": lambda text: [int(part) for part in text.split("+")],
    "paired": lambda text: bool(int(text)),
    "entailment": lambda text: bool(int(text)),
    "trays": lambda text: bool(int(text)),
    "questions": int,
    "captions": int,
    "statements": int,
    "things": int,
    "kinds": lambda text: text.split("+"),
    "parts": str,
    "fields": lambda text: text.split("+"),
}


def open_dataset(spec: str) -> Dataset:
    """Open what a user names.

    `FILE.jsonl[+FILE.jsonl]`; `SHARDS.tar` (with `*` or `{000000..000009}`); COCO `FILE.json[+FILE.json][@IMAGE_FOLDER]`;
    `scenes:N[,seed=S][,split=NAME][,size=PIXELS][,paired=1]...` for generated scenes (the options of `SceneDataset`;
    fields are joined by `+`, and so are several sizes). Raises DataError otherwise.
    """
    if spec.startswith("scenes:"):
        return _open_scenes(spec)
    files, _, images = spec.partition("@")
    if files.endswith(".jsonl"):
        parts = [JsonlDataset(file) for file in joined(spec)]
        return parts[0] if len(parts) == 1 else JoinedDataset(parts)
    if files.endswith(".tar"):
        return TarDataset(spec)
    if files.endswith(".json"):
        return CocoDataset(joined(files), images)
    raise DataError(
        f"cannot tell what '{spec}' is; datasets are FILE.jsonl[+FILE.jsonl], SHARDS.tar, COCO FILE.json[+FILE.json][@IMAGE_FOLDER], "
        "or scenes:N[,seed=S]. `vlfuse data convert` makes JSONL of other formats"
    )


def _open_scenes(spec: str) -> Dataset:
    number, *settings = spec.removeprefix("scenes:").split(",")
    if not re.fullmatch(r"[1-9]\d*", number):
        raise ConfigError(f"'{spec}' asks for '{number}' scenes; write a whole number, as in scenes:1000,seed=0")
    options: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in SCENE_OPTIONS:
            raise ConfigError(f"unknown option '{key}' in '{spec}'; known: {', '.join(SCENE_OPTIONS)}")
        try:
            options[key] = SCENE_OPTIONS[key](value)
        except ValueError as error:
            raise ConfigError(f"'{setting}' in '{spec}' must be a whole number") from error
    from vlfuse.data.scenes import SceneDataset  # not needed, and not loaded, for data from files

    return SceneDataset(int(number), **options)
