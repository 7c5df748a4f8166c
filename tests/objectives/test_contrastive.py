"""Contrastive learning: what counts as positive, what the queue adds, where the gradient goes."""

import pytest
import torch
import torch.nn.functional as F

from tests.contract.sizes import images, texts, tiny_head, tiny_model, tiny_system
from vlfuse.objectives.itc import FeatureQueue, ImageTextContrastive, contrastive_loss
from vlfuse.systems.base import Model, States
from vlfuse.types import Batch


def embeddings(model: Model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    states = States(model.system, batch)
    return states.image_embedding(), states.text_embedding("captions")


def test_one_caption_an_image_is_plain_clip():
    """Cross-entropy both ways, gradient through both sides and the temperature."""
    model, batch = tiny_model("fiber", "itc"), Batch(images(4), captions=texts([0, 1, 2, 3]))
    parameters = [p for _, p in model.named_parameters()]
    image, text = embeddings(model, batch)
    logits, own = image @ text.T / model.system.temperature, torch.arange(4)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    loss = model(batch, ("itc",))["itc"]["loss"]
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_captions_of_one_image_are_all_positive():
    """Image 0 has two captions: neither counts against the other, and image 2, without any, asks nothing."""
    model = tiny_model("fiber", "itc")
    batch = Batch(images(3), captions=texts([0, 1, 0]))
    image, text = embeddings(model, batch)
    rows = (image @ text.T / model.system.temperature).log_softmax(1)
    columns = (image @ text.T / model.system.temperature).T.log_softmax(1)
    image_loss = -(torch.stack([(rows[0, 0] + rows[0, 2]) / 2, rows[1, 1]])).mean()
    text_loss = -(columns[0, 0] + columns[1, 1] + columns[2, 0]) / 3
    loss = model(batch, ("itc",))["itc"]["loss"]
    torch.testing.assert_close(loss, (image_loss + text_loss) / 2)


def test_loss_spreads_over_the_positives():
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    log = logits.log_softmax(1)[0]
    found = contrastive_loss(logits, torch.tensor([[True, False, True]]))
    torch.testing.assert_close(found, -(log[:1] + log[2:]) / 2)


def test_unfilled_queue_is_never_scored():
    """An empty queue changes nothing; a partly filled one adds its written entries and nothing else."""
    system = tiny_system("fiber")
    plain, queued = Model(system, {"itc": tiny_head(system, "itc")}), ImageTextContrastive(system, queue=6)
    batch = Batch(images(3), captions=texts([0, 1, 2]))
    expected = plain(batch, ("itc",))["itc"]["loss"]
    queued.eval()
    queued.queue.image.fill_(torch.nan)  # whatever stands in unwritten entries
    queued.queue.text.fill_(torch.nan)
    torch.testing.assert_close(queued(system, States(system, batch), batch)["loss"], expected)

    entries = F.normalize(torch.randn(2, 2, system.embed_width, generator=torch.Generator().manual_seed(0)), dim=-1)
    queued.queue.push(entries[0], entries[1])
    image, text = embeddings(plain, batch)
    own = torch.arange(3)
    rows = image @ torch.cat([text, entries[1]]).T / system.temperature
    columns = text @ torch.cat([image, entries[0]]).T / system.temperature
    found = queued(system, States(system, batch), batch)["loss"]
    torch.testing.assert_close(found, (F.cross_entropy(rows, own) + F.cross_entropy(columns, own)) / 2)


def test_queue_fills_in_training_only_and_its_entries_are_constants():
    system = tiny_system("fiber")
    head = ImageTextContrastive(system, queue=4).train()
    batch = Batch(images(2), captions=texts([0, 1, 0]))
    for total in (3, 6):
        states = States(system, batch)
        loss = head(system, states, batch)["loss"]
        assert int(head.queue.written) == total
        loss.backward()  # pushing happened before: it must not have touched what the gradient needs
    assert not head.queue.image.requires_grad
    torch.testing.assert_close(head.queue.image.norm(dim=1), torch.ones(4))
    head.eval()(system, States(system, batch), batch)
    assert int(head.queue.written) == 6


@pytest.mark.parametrize("size", [3, 4, 7])
def test_queue_wraps_around(size):
    """It holds the last `size` pairs, whatever the sizes of the batches, also one that is larger than the queue."""
    queue, everything = FeatureQueue(size, 2), torch.arange(28.0).view(14, 2)
    start = 0
    for count in (2, 3, 1, 8):
        rows = everything[start : start + count]
        queue.push(rows, rows + 100)
        start += count
        kept = min(start, size)
        assert queue.filled == kept
        newest = {tuple(row) for row in everything[start - kept : start].tolist()}
        assert {tuple(row) for row in queue.image[:kept].tolist()} == newest
        torch.testing.assert_close(queue.text[:kept], queue.image[:kept] + 100)


def test_queue_travels_with_the_weights():
    system = tiny_system("fiber")
    head, other = ImageTextContrastive(system, queue=4), ImageTextContrastive(system, queue=4)
    head.queue.push(torch.ones(3, system.embed_width), torch.ones(3, system.embed_width))
    other.load_state_dict(head.state_dict())
    assert other.queue.filled == 3 and head.settings() == {"queue": 4}


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.001), (-3.0, 0.001), (0.5, 0.5), (7.0, 1.0)])
def test_temperature_stays_within_the_published_bounds(before, after):
    model = tiny_model("fiber", "itc")
    model.system.temperature.data.fill_(before)
    result = model(Batch(images(2), captions=texts([0, 1])), ("itc",))["itc"]
    assert model.system.temperature.item() == pytest.approx(after) == result["temperature"].item()
    assert result["loss"].isfinite()
