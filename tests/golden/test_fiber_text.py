"""The clean-up of answers and the soft scores of FIBER's question answering data."""

import json

import pytest

from tests.golden.vectors import vectors
from vlfuse.data.answers import ARTICLES, DIGITS, MENDED, SYMBOLS, normalize_word, soft_scores


@pytest.mark.parametrize("path", vectors("fiber_coarse_text_utils*.json"))
def test_normalize_word(path):
    expected = json.loads(path.read_text())["normalize_word"]
    assert {word: normalize_word(word) for word in expected} == expected


@pytest.mark.parametrize("path", vectors("fiber_coarse_text_utils*.json"))
def test_soft_score_of_ten_annotators(path):
    for count, score in json.loads(path.read_text())["vqa_soft_score"].items():
        answers = ["dog"] * int(count) + [f"other {i}" for i in range(10 - int(count))]
        assert soft_scores(answers).get("dog", 0.0) == score


@pytest.mark.parametrize("path", vectors("metrics_vqa_tables*.json"))
def test_lookup_tables_are_the_published_ones(path):
    tables = json.loads(path.read_text())
    assert set(tables["articles"]) == ARTICLES
    assert tables["digit_map"] == DIGITS
    assert set(tables["punctuation_symbols"]) == set(SYMBOLS)
    reachable = {
        wrong: right for wrong, right in tables["contractions"].items() if wrong == wrong.lower() and wrong != right
    }
    assert reachable == MENDED
