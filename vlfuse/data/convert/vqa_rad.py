"""VQA-RAD (Lau et al. 2018): clinicians' questions about radiology pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

from vlfuse.data.convert.report import Report, find, rows
from vlfuse.types import Question, Sample


def convert_vqa_rad(source: Path, out: Path) -> Report:
    """source: folder with `SPLIT.jsonl` and `images/`. Writes `out/SPLIT.jsonl`, one sample a picture,
    and `out/images/`.

    Answers are lower-cased: their case varies without meaning.
    """
    report = Report()
    (out / "images").mkdir(parents=True, exist_ok=True)
    for listing in find(source, "*.jsonl", "VQA-RAD"):
        questions: dict[str, list[Question]] = {}
        for row in rows(listing):
            report.read += 1
            if not (source / "images" / row["image"]).is_file():
                report.dropped["picture is missing"] += 1
                continue
            report.kept += 1
            question = Question(row["question"].strip(), (row["answer"].strip().lower(),), str(row["question_id"]))
            questions.setdefault(row["image"], []).append(question)
        samples = []
        for name, asked in questions.items():
            shutil.copyfile(source / "images" / name, out / "images" / name)
            images = (str(out / "images" / name),)
            samples.append(Sample(Path(name).stem, images, questions=tuple(asked), split=listing.stem))
        report.write(out / listing.name, samples)
    return report
