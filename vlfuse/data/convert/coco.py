"""COCO (Lin et al. 2014): captions and boxes of photographs, and VQA v2 questions about them where they are beside."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vlfuse.data.coco import CocoDataset
from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import DataError, Question


def convert_coco(source: Path, out: Path) -> Report:
    """source: folder with `annotations/captions_SPLIT.json` and/or `annotations/instances_SPLIT.json`, pictures in `images/`,
    `SPLIT/` or beside; `vqa_v2_questions_SPLIT.json` and `vqa_v2_annotations_SPLIT.json` are read where present.

    Writes `out/SPLIT.jsonl`. Pictures stay where they are; the records name them relative to `out`.
    """
    report = Report()
    files = [*source.glob("annotations/captions_*.json"), *source.glob("annotations/instances_*.json")]
    files = files or find(source, "annotations/captions_*.json", "COCO")
    for split in sorted({path.stem.partition("_")[2] for path in files}):
        parts = sorted(path for path in files if path.stem.partition("_")[2] == split)
        dataset = CocoDataset([str(path) for path in parts], str(_pictures(source, split)))
        questions = _questions(source / "annotations", split)
        report.read += len(dataset)
        report.dropped.update(dataset.dropped)
        samples = []
        for sample in (dataset[index] for index in range(len(dataset))):
            if not Path(str(sample.images[0])).is_file():
                report.dropped["picture is missing"] += 1
                continue
            report.kept += 1
            image = os.path.relpath(str(sample.images[0]), out)
            asked = tuple(questions.get(sample.id, ()))
            samples.append(replace(sample, images=(image,), questions=asked, split=split))
        report.write(out / f"{split}.jsonl", samples)
    return report


def _pictures(source: Path, split: str) -> Path:
    tried = [source / "images" / split, source / "images", source / split, source]
    for folder in tried:
        if any(folder.glob("*.jpg")):
            return folder
    raise DataError(f"no pictures (*.jpg) of split {split} in any of {', '.join(str(folder) for folder in tried)}")


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
