"""Metrics by their definitions, on cases small enough to count by hand, and against slow counting."""

from itertools import permutations

import pytest
import torch

from vlfuse.metrics.accuracy import accuracy, group_means, majority
from vlfuse.metrics.nlvr2 import nlvr2_metrics
from vlfuse.metrics.retrieval import caption_ranks, guessing, image_ranks, retrieval_metrics
from vlfuse.metrics.vqa import normalise, vqa_percent, vqa_score


def test_ranks_equal_those_of_sorting():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(7, 23, generator=generator)
    owner = torch.randint(0, 6, (23,), generator=generator)  # the last image has no caption
    by_caption, by_image = caption_ranks(scores, owner), image_ranks(scores, owner)
    asked = sorted(set(owner.tolist()))
    assert len(by_caption) == len(asked)
    for rank, image in zip(by_caption.tolist(), asked, strict=True):
        order = scores[image].argsort(descending=True).tolist()
        assert rank == 1 + next(i for i, caption in enumerate(order) if owner[caption] == image)
    for caption, rank in enumerate(by_image.tolist()):
        assert rank == 1 + scores[:, caption].argsort(descending=True).tolist().index(int(owner[caption]))


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_model_that_scores_all_alike_finds_nothing(value):
    found = retrieval_metrics(torch.full((20, 20), value), torch.arange(20))
    assert found["tr_r1"] == found["ir_r10"] == 0 and found["tr_median_rank"] == 20


def test_directions_may_have_scores_of_their_own():
    right, wrong, owner = torch.eye(12), 1 - torch.eye(12), torch.arange(12)
    found = retrieval_metrics(right, owner, image_scores=wrong)
    assert found["tr_r1"] == 1 and found["ir_r10"] == 0


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[2, 3\].*\[2\]"):
        retrieval_metrics(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="image 5"):
        retrieval_metrics(torch.zeros(2, 3), torch.tensor([0, 1, 5]))


@pytest.mark.parametrize(("same", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_score_by_agreement(same, score):
    answers = ["red"] * same + [f"other {i}" for i in range(10 - same)]
    assert vqa_score("red", answers) == pytest.approx(score, abs=1e-12)


def test_vqa_score_of_fewer_annotators():
    assert vqa_score("Yes.", ["yes"]) == 1 and vqa_score("no", ["yes"]) == 0
    assert vqa_score("yes", ["yes", "no", "no"]) == pytest.approx(0.9)  # one of three is three of ten
    assert vqa_score("yes", []) == 0


def test_vqa_official_rule_leaves_agreeing_annotators_as_they_are():
    assert vqa_score("2", ["two"] * 10) == 0
    assert vqa_score("2", ["two"] * 9 + ["three"]) == 1


def test_normalise():
    assert normalise("The  Dogs' 10,000 t-shirts.") == "dogs' 10000 tshirts"
    assert normalise("dont know") == "don't know"


def test_percentages_by_group():
    assert vqa_percent([1.0, 0.0, 0.3], ["a", "a", "b"]) == {"overall": 43.33, "a": 50.0, "b": 30.0}


def test_accuracy_majority_groups():
    assert accuracy(["a", "b", "b"], ["a", "b", "a"]) == pytest.approx(2 / 3)
    assert majority(["a", "b", "a"]) == pytest.approx(2 / 3)
    assert group_means([1, 0, 1], ["x", "y", "x"]) == {"x": 1.0, "y": 0.0}
    with pytest.raises(ValueError, match="2 predictions for 3"):
        accuracy(["a", "b"], ["a", "b", "c"])


def test_consistency_counts_sentences():
    found = nlvr2_metrics(["dev-1-0-0", "dev-1-1-0", "dev-1-0-1"], ["true", "False", "true"], ["True", "True", "true"])
    assert found == {"accuracy": pytest.approx(2 / 3), "consistency": pytest.approx(1 / 2)}


def test_guessing_is_the_mean_over_all_rankings():
    """Of 2 images with captions 0 and 1, 2, 3, and one without: all orders of captions, all of images."""
    owner = torch.tensor([0, 1, 1, 1])
    found = guessing(owner, 3, ks=(1, 2))
    for k in (1, 2):
        orders = list(permutations(range(4)))
        hits = [any(owner[caption] == image for caption in order[:k]) for order in orders for image in (0, 1)]
        assert found[f"tr_r{k}"] == pytest.approx(sum(hits) / len(hits))
        assert found[f"ir_r{k}"] == pytest.approx(k / 3)
    assert guessing(owner, 3, ks=(10,)) == {"tr_r10": 1.0, "ir_r10": 1.0}
