"""Visual Genome (Krishna et al. 2017): descriptions of regions as captions, and questions with one answer each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import Question, Sample


def convert_vg_captions(source: Path, out: Path) -> Report:
    """source: folder with `region_descriptions.json` and pictures `ID.jpg` anywhere below it (`VG_100K`, `VG_100K_2`).

    Writes `out/train.jsonl`, one sample a picture, the phrases of its regions as captions, each once. Pictures stay where they are.
    """

    def captions(row: dict[str, Any], report: Report) -> dict[str, Any]:
        found: dict[str, None] = {}
        for region in row["regions"]:
            report.read += 1
            phrase = region["phrase"].strip()
            if not phrase:
                report.dropped["phrase is blank"] += 1
            elif phrase in found:
                report.dropped["phrase comes twice for its picture"] += 1
            else:
                found[phrase] = None
        return {"captions": tuple(found)}

    return _convert(source, out, "region_descriptions.json", "regions", captions)


def convert_vg_qa(source: Path, out: Path) -> Report:
    """source: folder with `question_answers.json` and pictures as above. Writes `out/train.jsonl`, one sample a picture.

    The period that closes an answer is left out, and its first word is lower-cased unless it has other capitals.
    """

    def questions(row: dict[str, Any], report: Report) -> dict[str, Any]:
        found = []
        for asked in row["qas"]:
            report.read += 1
            question, answer = asked["question"].strip(), asked["answer"].strip().rstrip(".")
            if not question or not answer:
                report.dropped["question or answer is blank"] += 1
                continue
            plain = answer[:1].lower() + answer[1:] if answer[1:] == answer[1:].lower() else answer
            found.append(Question(question, (plain,), str(asked["qa_id"])))
        return {"questions": tuple(found)}

    return _convert(source, out, "question_answers.json", "qas", questions)


def _convert(source: Path, out: Path, name: str, rows: str, parts) -> Report:
    report = Report()
    pictures = {path.stem: path for path in source.glob("**/*.jpg")}
    samples = []
    for listing in find(source, name, "Visual Genome"):
        for row in read_json(listing):
            picture = pictures.get(str(row.get("id", row.get("image_id"))))
            if picture is None:
                report.read += len(row[rows])
                report.dropped["picture is missing"] += len(row[rows])
                continue
            made = parts(row, report)
            kept = sum(map(len, made.values()))
            report.kept += kept
            if kept:
                samples.append(Sample(picture.stem, (os.path.relpath(picture, out),), split="train", **made))
    report.write(out / "train.jsonl", samples)
    return report
