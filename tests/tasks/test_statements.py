"""Judging statements: pairs of pictures, unknown labels, mistakes in the data."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.contract.sizes import batch_for, images, texts, tiny_model
from vlfuse.systems.base import States
from vlfuse.types import Batch, DataError, TaskError


def test_pictures_of_a_pair_are_read_in_order():
    """The pooled vectors of the left and the right picture stand side by side in that order."""
    model = tiny_model("fiber", "nlvr2").eval()
    batch = Batch(images(3), statements=texts([[0, 1], [2, 0]]))
    states, head = States(model.system, batch), model.head("nlvr2")
    text = states.text("statements")
    left = model.system.fuse(states.image[[0, 2]], text).pooled
    right = model.system.fuse(states.image[[1, 0]], text).pooled
    found = head.logits(model.system, states, batch)
    torch.testing.assert_close(found, head.classifier(torch.cat([left, right], dim=1)))
    turned = Batch(batch.images, statements=texts([[1, 0], [0, 2]]))
    assert not torch.allclose(head.logits(model.system, States(model.system, turned), turned), found)


def test_unknown_labels_take_no_part():
    model, batch = tiny_model("fiber", "entailment").eval(), batch_for("entailment")
    target = batch.statements.target.clone()
    target[[1, 3]] = -100
    some = replace(batch, statements=replace(batch.statements, target=target))
    result = model(some, ("entailment",))["entailment"]
    logits = model.head("entailment").logits(model.system, States(model.system, batch), batch)
    torch.testing.assert_close(result["loss"], F.cross_entropy(logits[[0, 2]], target[[0, 2]]))
    hits = logits[[0, 2]].argmax(1) == target[[0, 2]]
    torch.testing.assert_close(result["accuracy"], hits.float().mean())
    none = replace(batch, statements=replace(batch.statements, target=torch.full_like(target, -100)))
    result = model(none, ("entailment",))["entailment"]
    assert result["loss"].item() == 0 and result["accuracy"].item() == 0


def test_training_needs_labels():
    batch = Batch(images(2), statements=texts([0, 1]))
    model = tiny_model("fiber", "nlvr")
    with pytest.raises(DataError, match="no labels"):
        model(batch, ("nlvr",))
    assert len(model.decode(batch, "nlvr")) == 2


@pytest.mark.parametrize(("head", "owner"), [("nlvr2", [0, 1]), ("nlvr", [[0, 1]]), ("entailment", [[0, 1]])])
def test_wrong_number_of_pictures_is_named(head, owner):
    with pytest.raises(TaskError, match=r"reads \d picture.* have \d"):
        tiny_model("fiber", head).decode(Batch(images(2), statements=texts(owner)), head)
