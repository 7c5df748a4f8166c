"""Visual Genome (Krishna et al. 2017): descriptions of regions as captions, and questions,
as they are or as VQA v2 has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlfuse.data.answers import normalize_word
from vlfuse.data.convert.report import Report, find, read_json
from vlfuse.types import DataError, Question, Sample

ANSWERS = "answers.txt"


def convert_vg_captions(source: Path, out: Path) -> Report:
    """source: folder with `region_descriptions.json` and pictures `ID.jpg` anywhere below it (`VG_100K`, `VG_100K_2`).

    Writes `out/train.jsonl`, one sample a picture, the phrases of its regions as captions, each once.
    Pictures stay where they are.
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
    """source: folder with `question_answers.json` and pictures as above. Writes `out/train.jsonl`,
    one sample a picture.

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


def convert_vg_qa_for_vqa(source: Path, out: Path) -> Report:
    """More training data for VQA v2, prepared as BridgeTower does. source: folder with `question_answers.json` and
    pictures as above, `image_data.json`, and an `answers.txt` (the list of answers of the VQA model, one a line).

    An answer is cleaned up and kept if it is in the list; a question that is asked of a picture twice is kept once, and
    not at all when its answers differ. Writes `out/coco.jsonl` (pictures that are also in COCO) and `out/rest.jsonl`,
    one sample a picture.
    """
    (images,) = find(source, "image_data.json", "Visual Genome")
    in_coco = {row["image_id"] for row in read_json(images) if row.get("coco_id")}
    known = _answers(source / ANSWERS)

    def questions(row: dict[str, Any], report: Report) -> dict[str, Any]:
        answers: dict[str, set[str]] = {}
        first: dict[str, str] = {}
        for asked in row["qas"]:
            report.read += 1
            question, answer = asked["question"], normalize_word(asked["answer"])
            if answer not in known:
                report.dropped["answer is not in the list"] += 1
            elif question in answers:
                answers[question].add(answer)
                report.dropped["question was asked before"] += 1
            else:
                answers[question], first[question] = {answer}, str(asked["qa_id"])
        kept = [Question(asked, tuple(found), first[asked]) for asked, found in answers.items() if len(found) == 1]
        report.dropped["answers differ"] += len(answers) - len(kept)
        return {"questions": tuple(kept)}

    return _convert(
        source,
        out,
        "question_answers.json",
        "qas",
        questions,
        ("coco", "rest"),
        lambda row: "coco" if row["id"] in in_coco else "rest",
    )


def _answers(path: Path) -> set[str]:
    if not path.is_file():
        raise DataError(
            f"there is no {path}; write the answers of your VQA model there, one a line (its config.json lists them)"
        )
    return {normalize_word(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}


def _convert(
    source: Path,
    out: Path,
    name: str,
    rows: str,
    texts: Callable[[dict[str, Any], Report], dict[str, Any]],
    files: Sequence[str] = ("train",),
    file_of: Callable[[dict[str, Any]], str] = lambda row: "train",
) -> Report:
    """Read the pictures listed in `name`, whose texts are in the field `rows`;
    write those whose `texts` leave any to `file_of` them."""
    report = Report()
    pictures = {path.stem: path for path in source.glob("**/*.jpg")}
    samples: dict[str, list[Sample]] = {file: [] for file in files}
    for listing in find(source, name, "Visual Genome"):
        for row in read_json(listing):
            picture = pictures.get(str(row.get("id", row.get("image_id"))))
            if picture is None:
                report.drop("picture is missing", len(row[rows]))
                continue
            made = texts(row, report)
            kept = sum(map(len, made.values()))
            report.kept += kept
            if kept:
                path = os.path.relpath(picture, out)
                samples[file_of(row)].append(Sample(picture.stem, (path,), split="train", **made))
    for file, found in samples.items():
        report.write(out / f"{file}.jsonl", found)
    return report
