"""Recall of phrases and accuracy of expressions: the cases that are easily counted wrong."""

import numpy as np
import pytest

from vlfuse.metrics.grounding import PhraseResult, ReferringResult, pairwise_overlap, phrase_recall, referring_accuracy

LEFT, RIGHT = [0, 0, 10, 10], [30, 0, 40, 10]


def test_overlaps_by_hand():
    found = pairwise_overlap([LEFT, [0, 0, 10, 5]], [LEFT, RIGHT, [5, 5, 5, 5]])
    np.testing.assert_allclose(found, [[1, 0, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(pairwise_overlap([LEFT], [RIGHT], "giou"), [[-0.5]])  # 200 of 400 are filled
    assert pairwise_overlap([], [LEFT]).shape == (0, 1)


def test_any_box_or_the_one_around_all():
    phrase = PhraseResult([[100, 100, 110, 110], RIGHT, [0, 0, 40, 10]], [LEFT, RIGHT], ("people",))
    any_box, merged = phrase_recall([phrase]), phrase_recall([phrase], "merged")
    assert [any_box[f"recall@{k}"]["people"] for k in (1, 5)] == [0, 1]
    assert merged["recall@5"]["all"] == 1
    alone = PhraseResult(phrase.found[:2], phrase.truth)
    assert phrase_recall([alone], "merged")["upper_bound"] == {"all": 0}


def test_phrases_without_boxes_are_not_asked_and_empty_finds_are_misses():
    asked, missed = PhraseResult([LEFT], [LEFT]), PhraseResult([], [LEFT], ("scene",))
    found = phrase_recall([asked, missed, PhraseResult([LEFT], [])])
    assert found["recall@1"] == {"all": 0.5, "scene": 0}
    with pytest.raises(ValueError, match="no phrase has a box"):
        phrase_recall([PhraseResult([LEFT], [])])


def test_expressions():
    shifted = [0, 0, 10, 19]  # IoU 0.526
    results = [ReferringResult([RIGHT, LEFT], [0.2, 0.9], LEFT), ReferringResult([], [], LEFT)]
    assert referring_accuracy(results) == {"P@1": 0.5, "P@5": 0.5, "P@10": 0.5}
    moved = ReferringResult([[3.0, 3.0, 12.0, 12.0]], [1.0], [1.0, 1.0, 11.0, 11.0])
    assert pairwise_overlap(moved.boxes, [moved.truth])[0, 0] > 0.5
    assert referring_accuracy([moved])["P@1"] == 1 and referring_accuracy([moved], "giou")["P@1"] == 1
    diagonal = ReferringResult([[1.8, 1.8, 11.8, 11.8]], [1.0], LEFT)
    assert referring_accuracy([diagonal])["P@1"] == 1 and referring_accuracy([diagonal], "giou")["P@1"] == 0
    assert referring_accuracy([ReferringResult([shifted], [1.0], LEFT)], "giou")["P@1"] == 1
    with pytest.raises(ValueError, match="at least one expression"):
        referring_accuracy([])


def test_order_of_rows_does_not_matter():
    results = [ReferringResult([LEFT, RIGHT], [0.5, 0.5], box) for box in (LEFT, RIGHT)]
    assert referring_accuracy(results) == referring_accuracy(results[::-1])
