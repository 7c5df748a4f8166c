"""Pointing: where the tokens of a phrase look, against where its boxes lie."""

from dataclasses import replace

import pytest
import torch

from tests.contract.sizes import LENGTH, batch_for, tiny_model
from vlfuse.objectives.tagging import covered
from vlfuse.systems.base import States
from vlfuse.types import Batch, DataError, Objects


def test_the_loss_is_that_of_every_token_and_layer_written_out():
    model, batch = tiny_model("fiber", "pointing").eval(), batch_for("pointing")
    found = model(batch)["pointing"]
    states = States(model.system, batch)
    looks = model.system.looks(states.image, states.text("captions"))
    objects = batch.captions.objects
    terms = []
    for look in looks:
        on = covered(objects.boxes, look.grid, batch.images.pixels.shape[-2:])
        for text in range(len(batch.captions.owner)):
            for token in range(LENGTH):
                meant = [on[m] for m in range(len(on)) if objects.text[m] == text and objects.positive[m, token] > 0]
                if meant:
                    terms.append(look.weights[text, token][torch.stack(meant).any(0)].sum())
    assert len(terms) == len(looks) * 2 * len(batch.captions.owner)
    torch.testing.assert_close(found["loss"], -torch.stack(terms).log().mean())
    torch.testing.assert_close(found["share"], torch.stack(terms).mean())


def test_where_a_text_looks_sums_to_one_on_the_grid_of_each_layer():
    model, batch = tiny_model("fiber", "pointing").eval(), batch_for("pointing")
    states = States(model.system, batch)
    looks = model.system.looks(states.image, states.text("captions"))
    assert len(looks) == model.system.config.fuse_last
    for look in looks:
        assert look.weights.shape == (len(batch.images), LENGTH, look.grid[0] * look.grid[1])
        torch.testing.assert_close(look.weights.sum(-1), torch.ones(len(batch.images), LENGTH))


def test_watching_changes_nothing_and_ends():
    model, batch = tiny_model("fiber", "pointing").eval(), batch_for("pointing")
    states = States(model.system, batch)
    before = model.system.fuse(states.image, states.text("captions"))
    model.system.looks(states.image, states.text("captions"))
    after = model.system.fuse(states.image, states.text("captions"))
    assert torch.equal(before.pooled, after.pooled)
    assert all(m.watched is None for m in model.modules() if hasattr(m, "watched"))


def test_captions_learn_where_to_look():
    model, batch = tiny_model("fiber", "pointing"), batch_for("pointing")
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = model(batch)["pointing"]["loss"]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_captions_without_phrases_are_named():
    model, batch = tiny_model("fiber", "pointing"), batch_for("pointing")
    with pytest.raises(DataError, match="phrases"):
        model(Batch(batch.images, captions=replace(batch.captions, objects=None)))


def test_no_phrase_in_view_teaches_nothing():
    model, batch = tiny_model("fiber", "pointing"), batch_for("pointing")
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, LENGTH), torch.zeros(0, dtype=torch.long))
    loss = model(Batch(batch.images, captions=replace(batch.captions, objects=nothing)))["pointing"]["loss"]
    assert loss.item() == 0
