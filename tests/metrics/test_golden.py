"""Our metrics against the official tools' recorded results."""

import json

import pytest
import torch

from tests.golden.vectors import load, vectors
from vlfuse.metrics import vqa
from vlfuse.metrics.nlvr2 import nlvr2_metrics
from vlfuse.metrics.retrieval import fold_mean, retrieval_metrics


@pytest.mark.parametrize("path", vectors("metrics_retrieval*.json"))
def test_retrieval(path):
    meta = json.loads(path.read_text())

    def measured(case):
        return retrieval_metrics(torch.tensor(case["scores"]), torch.tensor(case["text_to_image"]))

    for name, case in meta["cases"].items():
        if "folds" in case:
            folds = [measured(fold) for fold in case["folds"]]
            for found, fold in zip(folds, case["folds"], strict=True):
                assert found == pytest.approx(fold["expected"], abs=meta["tolerance"]), name
            assert fold_mean(folds) == pytest.approx(case["expected_mean"], abs=meta["tolerance"]), name
        else:
            assert measured(case) == pytest.approx(case["expected"], abs=meta["tolerance"]), name


@pytest.mark.parametrize("path", vectors("fiber_coarse_retrieval_recall*.json"))
@pytest.mark.parametrize("kind", ["itc", "itm"])
def test_fiber_recall(path, kind):
    golden = load(path)
    found = retrieval_metrics(golden[f"mid/scores_{kind}"], golden["in/text_owner"])
    order = [f"{direction}_r{k}" for direction in ("ir", "tr") for k in (1, 5, 10)]
    assert [found[name] for name in order] == pytest.approx(golden[f"out/recall_{kind}"].tolist(), abs=1e-7)


@pytest.mark.parametrize("path", vectors("metrics_nlvr2*.json"))
def test_nlvr2(path):
    meta = json.loads(path.read_text())
    examples = meta["input"]["examples"]
    given = {identifier: prediction for prediction, identifier in (_pair(p) for p in meta["input"]["predictions"])}
    identifiers = [e["identifier"] for e in examples]
    found = nlvr2_metrics(identifiers, [given[i] for i in identifiers], [e["label"] for e in examples])
    assert found == pytest.approx({k: meta["expected"][k] for k in found}, abs=meta["tolerance"])


def _pair(prediction):
    """(label, identifier) whichever way round they are recorded."""
    first, second = prediction
    return (second, first) if "-" in str(first) else (first, second)


@pytest.mark.parametrize("path", vectors("metrics_vqa.json", "metrics_vqa_[0-9]*.json"))
def test_vqa(path):
    meta = json.loads(path.read_text())
    given = {r["question_id"]: r["answer"] for r in meta["input"]["results"]}
    annotations = meta["input"]["annotations"]
    scores = vqa.vqa_scores(
        [given[a["question_id"]] for a in annotations], [[x["answer"] for x in a["answers"]] for a in annotations]
    )
    expected = meta["expected"]
    for annotation, score in zip(annotations, scores, strict=True):
        number = str(annotation["question_id"])
        assert round(100 * score, 2) == pytest.approx(expected["per_question"][number], abs=meta["tolerance"]), (
            annotation
        )
    for kind, key in (("question_type", "perQuestionType"), ("answer_type", "perAnswerType")):
        found = vqa.vqa_percent(scores, [a[kind] for a in annotations])
        assert found.pop("overall") == pytest.approx(expected["accuracy"]["overall"], abs=meta["tolerance"])
        assert found == pytest.approx(expected["accuracy"][key], abs=meta["tolerance"])


@pytest.mark.parametrize("path", vectors("metrics_vqa.json", "metrics_vqa_[0-9]*.json"))
def test_vqa_normalisation(path):
    for row in json.loads(path.read_text())["normalisation_table"]:
        cleaned = vqa.without_punctuation(vqa.tidy(row["raw"]))
        assert cleaned == row["after_punctuation"], row
        assert vqa.plain_words(cleaned) == row["after_digit_article"], row


@pytest.mark.parametrize("path", vectors("metrics_vqa_tables*.json"))
def test_vqa_tables(path):
    meta = json.loads(path.read_text())
    assert set(meta["articles"]) == vqa.ARTICLES
    assert meta["digit_map"] == vqa.DIGITS
    assert meta["punctuation_symbols"] == list(vqa.SYMBOLS)
    # Keys with capitals can never match lower-cased words, and a word that is mended to itself needs no entry.
    official = {wrong: word for wrong, word in meta["contractions"].items() if wrong == wrong.lower() and wrong != word}
    assert official == vqa.CONTRACTIONS
