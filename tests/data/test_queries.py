"""Descriptions made of regions' words: they fit what has all of their words."""

import numpy as np
import torch

from vlfuse.data.collate import Collate
from vlfuse.data.queries import draw_queries
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import EvalTransform
from vlfuse.types import Region

WORDS = (("small", "red", "star"), ("large", "red", "star"), ("small", "blue", "cross"), ("thing",))
REGIONS = [(Region((0, 0, 1, 1), w[-1], w[:-1]), torch.full((4,), float(i))) for i, w in enumerate(WORDS)]


def test_a_description_fits_exactly_the_regions_with_all_its_words():
    seen = {0: 0, 1: 0, 2: 0}
    for query in draw_queries(REGIONS, 400, np.random.default_rng(0)):
        fits = [i for i, words in enumerate(WORDS) if set(query.text.split()) <= set(words)]
        assert query.boxes[:, 0].tolist() == fits, query.text
        seen[min(2, len(fits))] += 1
    assert min(seen.values()) > 30, f"descriptions of nothing, one and several things all come up: {seen}"


def test_a_picture_without_regions_is_asked_for_nothing():
    assert draw_queries([], 4, np.random.default_rng(0)) == () == draw_queries(REGIONS, 0, np.random.default_rng(0))


def test_descriptions_become_texts_with_the_objects_they_fit():
    tokenizer = Tokenizer.load("scenes")
    collate = Collate(tokenizer, EvalTransform(64), 32, queries=3)
    dataset = SceneDataset(4, size=64, fields=("regions",))
    batch = collate([(dataset[i], np.random.default_rng(i)) for i in range(4)])
    texts = batch.grounding
    assert batch.regions is None and len(texts.owner) == 12 and texts.owner.tolist() == [i // 3 for i in range(12)]
    for row, query in enumerate(texts.records):
        assert torch.equal(texts.objects.boxes[texts.objects.text == row], query.boxes)
        sample = dataset[row // 3]
        fits = [r for r in sample.regions if set(query.text.split()) <= {*r.attributes, r.label}]
        assert query.boxes.tolist() == [list(r.box) for r in fits]
