"""Ranking a caption above other captions, by the row of the matching head that retrieval ranks by."""

import pytest
import torch

from tests.contract.sizes import batch_for, tiny_system
from vlfuse.objectives.itm import ImageTextMatching, draw_texts
from vlfuse.systems import SYSTEMS
from vlfuse.systems.base import Model
from vlfuse.types import ConfigError


def test_false_texts_are_of_other_images():
    owner = torch.tensor([0, 0, 1, 2, 3])
    for seed in range(20):
        drawn = draw_texts(owner, 2, torch.Generator().manual_seed(seed))
        assert drawn.shape == (5, 2) and (owner[drawn] != owner[:, None]).all()
        assert all(len(set(row)) == 2 for row in drawn.tolist())
    assert draw_texts(owner, 15).shape == (5, 3), "no more than there are"
    with pytest.raises(ConfigError, match="at least two images"):
        draw_texts(torch.zeros(3, dtype=torch.long), 2)


@pytest.mark.parametrize("name", SYSTEMS)
def test_learning_to_rank(name):
    """The row of "matched" learns, the other stays; four captions are told apart by heart."""
    system = tiny_system(name)
    head = ImageTextMatching(system, negatives="texts", false_texts=3)
    assert head.settings() == {"negatives": "texts", "false_texts": 3}
    model, batch = Model(system, {"itm": head}).train(), batch_for("itm")
    result = model(batch, ("itm",), torch.Generator().manual_seed(0))["itm"]
    result["loss"].backward()
    gradient = head.classifier.weight.grad
    assert gradient is not None and gradient[1].any() and not gradient[0].any()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        result = model(batch, ("itm",), torch.Generator().manual_seed(0))["itm"]
        if result["accuracy"] == 1 and result["loss"] < 0.1:
            return
        result["loss"].backward()
        optimiser.step()
    raise AssertionError(f"the loss is still {result['loss']:.2f}")


def test_what_cannot_be_is_named():
    with pytest.raises(ConfigError, match="false_texts is 0"):
        ImageTextMatching(tiny_system("fiber"), negatives="texts", false_texts=0)
    with pytest.raises(ConfigError, match="allowed: hard, random, texts"):
        ImageTextMatching(tiny_system("fiber"), negatives="none")
