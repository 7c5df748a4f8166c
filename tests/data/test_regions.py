"""Regions in a batch: their words without the frame of a text, their boxes in the pixels the model sees."""

import numpy as np
import torch

from vlfuse.data.collate import ALL, Collate
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import EvalTransform


def batch_of(side: int, number: int = ALL):
    samples = SceneDataset(3, size=64, fields=("regions",))
    collate = Collate(Tokenizer.load("scenes"), EvalTransform(side), 16, regions=number)
    return collate([(samples[i], np.random.default_rng(i)) for i in range(3)]), samples


def test_every_region_is_there_with_its_words_and_its_box_scaled():
    batch, samples = batch_of(128)
    regions = batch.regions
    expected = [(i, region) for i in range(3) for region in samples[i].regions]
    assert regions.owner.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(regions.target, 2 * torch.tensor([region.box for _, region in expected]))
    tokenizer = Tokenizer.load("scenes")
    for ids, mask, (_, region) in zip(regions.tokens.ids, regions.tokens.mask, expected, strict=True):
        assert tokenizer.decode(ids[mask]).split() == [*region.attributes, region.label]


def test_no_more_regions_than_asked_for():
    batch, _ = batch_of(64, number=1)
    assert batch.regions.owner.tolist() == [0, 1, 2]
    assert batch_of(64, number=0)[0].regions is None
