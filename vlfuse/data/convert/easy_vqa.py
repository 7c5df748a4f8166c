"""easy-VQA (Victor Zhou): small pictures of one coloured shape, generated questions, 13 answers."""

from __future__ import annotations

from pathlib import Path

from vlfuse.data.convert.report import Report, extract_pictures, find, rows
from vlfuse.types import Question, Sample


def convert_easy_vqa(source: Path, out: Path) -> Report:
    """source: folder with `SPLIT.jsonl` and `SPLIT.tar`. Writes `out/SPLIT.jsonl`, one sample a picture,
    and `out/images/`."""
    report = Report()
    for listing in find(source, "*.jsonl", "easy-VQA"):
        split = listing.stem
        pictures = extract_pictures([source / f"{split}.tar"], out / "images")
        questions: dict[str, list[Question]] = {}
        for row in rows(listing):
            report.read += 1
            if row["image"] not in pictures:
                report.dropped["picture is not in the archive"] += 1
                continue
            report.kept += 1
            question = Question(row["question"].strip(), (row["answer"],), str(row["question_id"]))
            questions.setdefault(row["image"], []).append(question)
        report.write(
            out / f"{split}.jsonl",
            (
                Sample(Path(name).stem, (str(out / "images" / name),), questions=tuple(asked), split=split)
                for name, asked in questions.items()
            ),
        )
    return report
