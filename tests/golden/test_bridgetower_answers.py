"""Answers as BridgeTower's data preparation makes them: clean-up, vocabulary, soft scores, with and without the later fix."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.golden.vectors import vectors
from vlfuse.data.answers import AnswerList, normalize_word
from vlfuse.types import Question, Sample

PATHS = vectors("bridgetower_vqa_answers*.json")


@pytest.mark.parametrize("path", PATHS)
def test_normalize_word(path: Path):
    expected = json.loads(path.read_text())["normalize_word"]
    assert {word: normalize_word(word) for word in expected} == expected


@pytest.mark.parametrize("path", PATHS)
def test_vocabulary(path: Path):
    """Answers of at least nine questions of training and validation, numbered as they first appear."""
    given = json.loads(path.read_text())["vqav2"]
    rows = [row for split in ("train", "val") for row in given["in"][split]["annotations"]]
    questions = tuple(Question("", (row["multiple_choice_answer"],)) for row in rows)
    found = AnswerList.from_samples([Sample("1", (), questions=questions)], min_count=9, normalise=False)
    assert found.answers == tuple(given["label2answer"][str(i)] if isinstance(given["label2answer"], dict) else given["label2answer"][i] for i in range(len(found)))  # fmt: skip
    assert len(found) == len(given["label2answer"])


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_targets(path: Path, fixed: bool):
    """fixed: annotators' answers are cleaned before they are counted (ours; the older lists did not)."""
    given = json.loads(path.read_text())["vqav2"]
    names = given["label2answer"]
    names = [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
    answers = AnswerList(tuple(names), normalise=fixed)
    for split in ("train", "val"):
        rows = {row["question_id"]: [a["answer"] for a in row["answers"]] for row in given["in"][split]["annotations"]}
        out = given["out"][f"{split}_{'fixed' if fixed else 'unfixed'}_normalisation"]
        expected = {
            question: dict(zip(labels, scores, strict=True))
            for image in out
            for question, labels, scores in zip(
                image["question_id"], image["answer_labels"], image["answer_scores"], strict=True
            )
        }
        kept = {question for question, raw in rows.items() if answers.covers(raw)}
        assert kept == set(expected)
        for question, scores in expected.items():
            target = answers.target(rows[question])
            assert {i: pytest.approx(s) for i, s in enumerate(target.tolist()) if s} == scores
    assert Counter(names).most_common(1)[0][1] == 1
