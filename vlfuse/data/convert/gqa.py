"""GQA (Hudson and Manning 2019): questions made of scene graphs, with one answer each."""

from __future__ import annotations

import os
from pathlib import Path

from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import Question, Sample


def convert_gqa(source: Path, out: Path) -> Report:
    """source: folder with `SPLIT_balanced_questions.json`, `SPLIT_all_questions.json` or the parts of
    `train_all_questions/`, and pictures `ID.jpg` anywhere below it. Writes `out/NAME.jsonl` for each file, one sample a
    picture; test files have no answers.

    Pictures stay where they are; the records name them relative to `out`.
    """
    report = Report()
    pictures = {path.stem: path for path in source.glob("**/*.jpg")}
    for listing in find(source, "**/*_questions*.json", "GQA"):
        name = listing.stem.replace("_questions", "")
        questions: dict[str, list[Question]] = {}
        for number, row in read_json(listing).items():
            report.read += 1
            if row["imageId"] not in pictures:
                report.dropped["picture is missing"] += 1
                continue
            report.kept += 1
            answers = (row["answer"],) if "answer" in row else ()
            questions.setdefault(row["imageId"], []).append(Question(row["question"].strip(), answers, number))
        report.write(
            out / f"{name}.jsonl",
            (
                Sample(
                    image, (os.path.relpath(pictures[image], out),), questions=tuple(asked), split=name.split("_")[0]
                )
                for image, asked in questions.items()
            ),
        )
    return report
