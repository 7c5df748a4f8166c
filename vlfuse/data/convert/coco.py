"""COCO (Lin et al. 2014): captions and boxes of photographs, and VQA v2 questions about them where they are beside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlfuse.data.boxes import CUT
from vlfuse.data.coco import CocoDataset
from vlfuse.data.convert.report import Pictures, Report, find, read_json
from vlfuse.types import Question


def convert_coco(source: Path, out: Path) -> Report:
    """source: folder with `annotations/captions_SPLIT.json` and/or `annotations/instances_SPLIT.json`, and pictures
    anywhere below it; `vqa_v2_questions_SPLIT.json` and `vqa_v2_annotations_SPLIT.json` are read where present.

    Writes `out/SPLIT.jsonl`. Rows are pictures; these stay where they are, and the records name them relative to `out`.
    """
    report, pictures = Report(), Pictures(source)
    files = [*source.glob("annotations/captions_*.json"), *source.glob("annotations/instances_*.json")]
    files = files or find(source, "annotations/captions_*.json", "COCO")
    for split in sorted({path.stem.partition("_")[2] for path in files}):
        parts = sorted(path for path in files if path.stem.partition("_")[2] == split)
        dataset = CocoDataset([str(path) for path in parts], ".")
        write_pictures(report, dataset, pictures, out, split, _questions(source / "annotations", split))
    return report


def write_pictures(
    report: Report,
    dataset: CocoDataset,
    pictures: Pictures,
    out: Path,
    split: str,
    questions: Mapping[str, Sequence[Question]] | None = None,
) -> None:
    """One record for each picture of COCO files that is found by its name in them."""
    report.boxes.update(dataset.dropped)
    if dataset.cut:
        report.boxes[CUT] += dataset.cut
    samples = []
    for sample in (dataset[index] for index in range(len(dataset))):
        picture = pictures.find(str(sample.images[0]))
        if picture is None:
            report.drop("picture is missing")
            continue
        report.keep()
        asked = tuple(questions.get(sample.id, ())) if questions else ()
        samples.append(replace(sample, images=(os.path.relpath(picture, out),), questions=asked, split=split))
    report.write(out / f"{split}.jsonl", samples)


def _questions(folder: Path, split: str) -> dict[str, list[Question]]:
    """By picture; ten answers each."""
    asked, answered = folder / f"vqa_v2_questions_{split}.json", folder / f"vqa_v2_annotations_{split}.json"
    if not asked.is_file() or not answered.is_file():
        return {}
    answers = {a["question_id"]: tuple(x["answer"] for x in a["answers"]) for a in read_json(answered)["annotations"]}
    found: dict[str, list[Question]] = {}
    for row in read_json(asked)["questions"]:
        question = Question(row["question"], answers.get(row["question_id"], ()), str(row["question_id"]))
        found.setdefault(str(row["image_id"]), []).append(question)
    return found
