"""VQA v2 (Goyal et al. 2017): questions about COCO photographs with ten answers each."""

from __future__ import annotations

import os
from pathlib import Path

from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import Question, Sample


def convert_vqa_v2(source: Path, out: Path) -> Report:
    """source: folder with the published `v2_OpenEnded_mscoco_SPLIT_questions.json` and, where answers are public,
    `v2_mscoco_SPLIT_annotations.json`; pictures `COCO_SPLIT_000000000042.jpg` or `000000000042.jpg` anywhere below it.

    Writes `out/SPLIT.jsonl`, one sample a picture. Pictures stay where they are;
    the records name them relative to `out`.
    """
    report = Report()
    pictures = {path.stem.rpartition("_")[2]: path for path in source.glob("**/*.jpg")}
    for listing in find(source, "v2_OpenEnded_mscoco_*_questions.json", "VQA v2"):
        split = listing.stem.split("_")[3]
        answered = source / f"v2_mscoco_{split}_annotations.json"
        given = read_json(answered)["annotations"] if answered.is_file() else ()
        answers = {row["question_id"]: tuple(answer["answer"] for answer in row["answers"]) for row in given}
        questions: dict[Path, list[Question]] = {}
        for row in read_json(listing)["questions"]:
            report.read += 1
            picture = pictures.get(f"{row['image_id']:012d}")
            if picture is None:
                report.dropped["picture is missing"] += 1
                continue
            report.kept += 1
            question = Question(row["question"], answers.get(row["question_id"], ()), str(row["question_id"]))
            questions.setdefault(picture, []).append(question)
        report.write(
            out / f"{split}.jsonl",
            (
                Sample(picture.stem, (os.path.relpath(picture, out),), questions=tuple(asked), split=split)
                for picture, asked in questions.items()
            ),
        )
    return report
