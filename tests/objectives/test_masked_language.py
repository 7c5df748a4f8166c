"""Masked language modelling: only what is asked is computed, and nothing asked is no error."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.contract.sizes import images, texts, tiny_model
from vlfuse.systems.base import States
from vlfuse.types import Batch, DataError, Tokens


def test_asked_positions_equal_the_full_computation():
    """Loss and gradients equal those of logits at every position with the others ignored."""
    model = tiny_model("fiber", "mlm")
    captions = texts([0, 1, 1], masked=True)
    batch = Batch(images(2), captions=captions)
    head, parameters = model.head("mlm"), [p for _, p in model.named_parameters()]
    masked = model.system.encode_text(Tokens(captions.masked_ids, captions.tokens.mask))
    logits = head.logits(model.system.fuse(States(model.system, batch).image[captions.owner], masked).text)
    expected = F.cross_entropy(logits.flatten(0, 1), captions.mask_labels.flatten(), ignore_index=-100)
    result = model(batch, ("mlm",))["mlm"]
    torch.testing.assert_close(result["loss"], expected)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    found = torch.autograd.grad(result["loss"], parameters, allow_unused=True)
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    asked = captions.mask_labels >= 0
    hits = logits.argmax(-1)[asked] == captions.mask_labels[asked]
    torch.testing.assert_close(result["accuracy"], hits.float().mean())


def test_only_asked_positions_reach_the_vocabulary():
    model = tiny_model("fiber", "mlm")
    captions = texts([0, 1], masked=True)
    rows: list[int] = []
    model.head("mlm").decoder.register_forward_pre_hook(lambda _module, values: rows.append(values[0].shape[0]))
    model(Batch(images(2), captions=captions), ("mlm",))
    assert rows == [int((captions.mask_labels >= 0).sum())]


def test_nothing_masked_is_no_loss():
    model = tiny_model("fiber", "mlm")
    captions = texts([0, 1], masked=True)
    captions = replace(captions, masked_ids=captions.tokens.ids, mask_labels=torch.full_like(captions.tokens.ids, -100))
    result = model(Batch(images(2), captions=captions), ("mlm",))["mlm"]
    assert result["loss"].item() == 0 and result["accuracy"].item() == 0
    result["loss"].backward()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_unmasked_captions_are_refused():
    with pytest.raises(DataError, match="mask probability above 0"):
        tiny_model("fiber", "mlm")(Batch(images(1), captions=texts([0])), ("mlm",))
