"""The Arrow files that ViLT, METER and FIBER train from: pictures and their texts in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlfuse.data.convert.report import Report, find
from vlfuse.types import DataError, Question, Sample, Statement

COUNTS = {0.3: 1, 0.6: 2, 0.9: 3, 1.0: 4}  # annotators of ten behind a published answer score; from four on it is 1
ANNOTATORS = 10


def convert_arrow(source: Path, out: Path) -> Report:
    """source: folder with `*.arrow` files of captions (columns image, caption), questions (image, questions, answers,
    answer_scores, question_id) or pairs (image_0, image_1, questions, answers, identifier). Needs pyarrow.

    Writes `out/NAME.jsonl` for each file and its pictures, as they are stored, below `out/images/NAME/`.
    Rows are counted.

    The files keep answers' scores, not people's answers: ten answers are made that score the same, with "(not kept N)"
    in the place of those that the files left out.
    """
    report = Report()
    for listing in find(source, "*.arrow", "Arrow files"):
        table = _open(listing)
        columns = set(table.schema.names)
        pictures, texts = _kind(columns, listing)
        missing = {*pictures, *texts.needs} - columns
        if missing:
            raise DataError(
                f"{listing} has no column {', '.join(sorted(missing))}; it has {', '.join(sorted(columns))}"
            )
        report.write(out / f"{listing.stem}.jsonl", _samples(table, pictures, texts, out, listing.stem, report))
    return report


def _open(path: Path) -> Any:
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise DataError(f"reading {path} needs pyarrow: pip install 'vlfuse[arrow]'") from error
    try:
        return arrow.ipc.RecordBatchFileReader(arrow.memory_map(str(path), "r"))
    except (arrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no Arrow file: {error}") from error


class _Texts:
    """How rows of a kind become texts. needs: columns; make: row -> fields of a Sample."""

    def __init__(self, needs: tuple[str, ...], make: Callable[[dict[str, Any]], dict[str, Any]]):
        self.needs, self.make = needs, make


def _captions(row: dict[str, Any]) -> dict[str, Any]:
    return {"captions": tuple(dict.fromkeys(text.strip() for text in row["caption"] if text.strip()))}


def _questions(row: dict[str, Any]) -> dict[str, Any]:
    numbers = row.get("question_id") or [""] * len(row["questions"])
    answers = row.get("answers") or [[]] * len(row["questions"])
    scores = row.get("answer_scores") or [[1.0] * len(group) for group in answers]
    asked = zip(row["questions"], answers, scores, numbers, strict=True)
    return {"questions": tuple(Question(q.strip(), _ten(a, s), str(n)) for q, a, s, n in asked)}


def _ten(answers: list[str], scores: list[float]) -> tuple[str, ...]:
    """Ten answers in which each of the given ones has its score."""
    found = [answer for answer, score in zip(answers, scores, strict=True) for _ in range(COUNTS[round(score, 1)])]
    sure = next((answer for answer, score in zip(answers, scores, strict=True) if score >= 1), None)
    if not found:
        return ()
    left = max(0, ANNOTATORS - len(found))
    return tuple(found + ([sure] * left if sure is not None else [f"(not kept {i + 1})" for i in range(left)]))


def _statements(row: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(row["questions"], row["answers"], strict=True)
    return {"statements": tuple(Statement(text.strip(), str(label).lower()) for text, label in pairs)}


def _kind(columns: set[str], listing: Path) -> tuple[tuple[str, ...], _Texts]:
    if "image_0" in columns:
        return ("image_0", "image_1"), _Texts(("questions", "answers", "identifier"), _statements)
    if "questions" in columns:
        return ("image",), _Texts((), _questions)
    if "caption" in columns:
        return ("image",), _Texts((), _captions)
    raise DataError(f"{listing} holds neither caption nor questions, but {', '.join(sorted(columns))}")


def _samples(table: Any, pictures: tuple[str, ...], texts: _Texts, out: Path, name: str, report: Report) -> Iterator[Sample]:  # fmt: skip
    folder = out / "images" / name
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for batch in range(table.num_record_batches):
        for row in table.get_batch(batch).to_pylist():
            number, where = number + 1, f"{number:08d}"
            report.read += 1
            if not all(row[column] for column in pictures):
                report.dropped["picture is empty"] += 1
                continue
            made = texts.make(row)
            if not any(made.values()):
                report.dropped["it has no texts"] += 1
                continue
            report.kept += 1
            paths = tuple(folder / f"{where}-{i}{_ending(row[column])}" for i, column in enumerate(pictures))
            for path, column in zip(paths, pictures, strict=True):
                path.write_bytes(row[column])
            images = tuple(path.relative_to(out).as_posix() for path in paths)
            yield Sample(_id(row, where), images, split=str(row.get("split") or ""), **made)


def _id(row: dict[str, Any], where: str) -> str:
    """The picture's own name; of a pair, the identifier that its statements share, without their number."""
    identifier = row.get("identifier")
    if identifier:
        identifier = identifier[0] if isinstance(identifier, list) else identifier
        return identifier if identifier.count("-") < 3 else identifier.rpartition("-")[0]
    return str(row.get("image_id") or where)


def _ending(data: bytes) -> str:
    return ".png" if data.startswith(b"\x89PNG") else ".jpg"
