"""Questions of Visual Genome (Krishna et al. 2017) as more training data for VQA v2, prepared as BridgeTower does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vlfuse.data.answers import normalize_word
from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import DataError, Question, Sample

ANSWERS = "answers.txt"


def convert_vg_qa(source: Path, out: Path) -> Report:
    """source: folder with Visual Genome's `question_answers.json` and `image_data.json`, an `answers.txt` (the list of answers of
    the VQA model, one a line), and pictures `42.jpg` anywhere below it.

    An answer is cleaned up and kept if it is in the list; a question that is asked of a picture twice is kept once, and not at all
    when its answers differ. Writes `out/coco.jsonl` (pictures that are also in COCO) and `out/rest.jsonl`, one sample a picture.
    """
    report = Report()
    (listing,) = find(source, "question_answers.json", "Visual Genome")
    pictures = {path.stem: path for path in source.glob("**/*.jpg")}
    in_coco = {row["image_id"] for row in read_json(source / "image_data.json") if row.get("coco_id")}
    known = _answers(source / ANSWERS)
    samples: dict[str, list[Sample]] = {"coco": [], "rest": []}
    for row in read_json(listing):
        picture = pictures.get(str(row["id"]))
        questions = _questions(row["qas"], known, report) if picture else []
        if picture is None:
            report.read += len(row["qas"])
            report.dropped["picture is missing"] += len(row["qas"])
        elif questions:
            part = "coco" if row["id"] in in_coco else "rest"
            samples[part].append(
                Sample(picture.stem, (os.path.relpath(picture, out),), questions=tuple(questions), split="train")
            )
    for part, found in samples.items():
        report.write(out / f"{part}.jsonl", found)
    return report


def _answers(path: Path) -> set[str]:
    if not path.is_file():
        raise DataError(
            f"there is no {path}; write the answers of your VQA model there, one a line (its config.json lists them)"
        )
    return {normalize_word(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}


def _questions(rows: list[dict[str, Any]], known: set[str], report: Report) -> list[Question]:
    """The usable questions of one picture, in order of appearance."""
    answers: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    for row in rows:
        report.read += 1
        answer = normalize_word(row["answer"])
        if answer not in known:
            report.dropped["answer is not in the list"] += 1
        elif row["question"] in answers:
            answers[row["question"]].add(answer)
            report.dropped["question was asked before"] += 1
        else:
            answers[row["question"]], first[row["question"]] = {answer}, str(row["qa_id"])
    kept = [Question(asked, tuple(found), first[asked]) for asked, found in answers.items() if len(found) == 1]
    report.dropped["answers differ"] += len(answers) - len(kept)
    report.kept += len(kept)
    return kept
