"""Grounding learns what a generated scene shows, and finds it again; batches of any make give what their samples give."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.contract.sizes import batch_for, tiny_head, tiny_model, tiny_system
from tests.micro import micro_size
from vlfuse.data.grounding import GroundingCollate
from vlfuse.data.readers import open_dataset
from vlfuse.data.scaling import ScaleTransform
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.objectives.grounding import Grounding
from vlfuse.ops.boxes import iou
from vlfuse.systems.base import Model, recompute
from vlfuse.systems.fiber import Fiber
from vlfuse.tasks.regions import Keep, find
from vlfuse.types import Batch, ConfigError, DataError, Images, Texts

SIDE = 64


def scenes(count: int) -> Batch:
    """Dense captions, whose phrases name every thing of their scene."""
    dataset = open_dataset(f"scenes:{count},size={SIDE},captions=1,fields=captions+phrases")
    scale = ScaleTransform((SIDE,), SIDE, mean=(0.82,) * 3, std=(0.2,) * 3)
    collate = GroundingCollate(Tokenizer.load("scenes"), scale, 64, "phrases")
    return collate([(dataset[i], np.random.default_rng(i)) for i in range(count)])


def test_a_scene_is_learnt_and_its_things_are_found():
    torch.manual_seed(0)
    system = Fiber(replace(micro_size().config, gate=0.3, image_gate=0.3))
    head = Grounding(system, width=32, blocks=1, levels=3, anchor_scale=4.0)
    model, batch = Model(system, {"grounding": head}), scenes(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    losses = []
    for _ in range(130):
        loss = model(batch)["grounding"]["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0], f"the loss fell from {losses[0]:.2f} to {losses[-1]:.2f} only"
    texts, model = batch.grounding, model.eval()
    assert texts is not None and texts.objects is not None
    objects, prompt = texts.objects, texts.records[0]
    with torch.no_grad():
        image, text = system.encode_maps(batch.images), system.encode_text(texts.tokens)
    (found,) = find(system, head, image, batch.images.sizes, text, [prompt.map(Tokenizer.load("scenes"), 64)])
    assert len(objects) == len(prompt.things)
    for number, box in enumerate(objects.boxes):
        best = found.boxes[found.labels == number][:1]
        assert len(best) and float(iou(best, box[None])) > 0.5, f"thing {number}: {best} is not {box}"


def test_a_picture_without_objects_learns_that_nothing_is_there():
    model, batch = tiny_model("fiber", "grounding"), batch_for("grounding")
    texts = batch.grounding
    assert texts is not None and texts.objects is not None
    for kept in (texts.objects.text == 0, texts.objects.text < 0):
        some = replace(batch, grounding=replace(texts, objects=texts.objects[kept]))
        losses = model(some)["grounding"]
        losses["loss"].backward()
        assert all(value.isfinite() for value in losses.values()) and losses["tokens"] > 0
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert losses["box"] == losses["centerness"] == 0


def test_order_and_company_do_not_matter():
    """Objects and texts in another order give the same loss; a text alone finds what it finds beside others."""
    model, batch = tiny_model("fiber", "grounding").eval(), batch_for("grounding")
    texts, order = batch.grounding, torch.tensor([2, 0, 3, 1])
    assert texts is not None and texts.objects is not None
    loss = model(batch)["grounding"]["loss"]
    other = torch.arange(len(texts.objects)).flip(0)
    moved = replace(texts.objects[other], text=order.argsort()[texts.objects.text[other]])
    turned = Texts(texts.tokens[order], texts.owner[order], objects=moved)
    torch.testing.assert_close(model(replace(batch, grounding=turned))["grounding"]["loss"], loss)


def test_one_trunk_serves_many_prompts():
    """Repeating a picture's state gives what encoding it for every prompt gives."""
    system = tiny_system("fiber").eval()
    head, batch = tiny_head(system, "grounding"), batch_for("grounding")
    assert isinstance(head, Grounding) and batch.grounding is not None
    text = system.encode_text(batch.grounding.tokens)
    maps = [torch.eye(8)[[1, 3]]] * 4
    sizes, keep = batch.images.sizes[[0, 0, 0, 0]], Keep(threshold=0.0)
    with torch.no_grad():
        once = find(system, head, system.encode_maps(batch.images[:1])[[0] * 4], sizes, text, maps, keep)
        anew = [
            find(system, head, system.encode_maps(batch.images[:1]), sizes[:1], text[[i]], maps[:1], keep)[0]
            for i in range(4)
        ]
    for a, b in zip(once, anew, strict=True):
        torch.testing.assert_close(a.boxes, b.boxes, atol=1e-4, rtol=1e-4)
        assert torch.equal(a.labels, b.labels)


def test_nothing_is_found_beyond_the_picture():
    """In a padded batch, and a label without tokens is found nowhere."""
    system = tiny_system("fiber").eval()
    head = tiny_head(system, "grounding")
    assert isinstance(head, Grounding)
    batch = batch_for("grounding", 1)
    assert batch.grounding is not None
    sizes = torch.tensor([[12, 20]])
    pixels = batch.images.pixels.clone()
    pixels[:, :, 12:], pixels[:, :, :, 20:] = 0, 0
    maps = [torch.stack([torch.eye(8)[1], torch.zeros(8)])]
    with torch.no_grad():
        image, text = system.encode_maps(Images(pixels, sizes)), system.encode_text(batch.grounding.tokens)
    keep = Keep(threshold=0.0, overlap=1.0, most=1000)
    (found,) = find(system, head, image, sizes, text, maps, keep)
    (without,) = find(system, head, image, sizes, text, [maps[0][:0]], keep)
    assert len(without) == 0, "no labels, no boxes"
    assert len(found) and (found.labels == 0).all() and (found.scores.diff() <= 0).all()
    assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([20, 12, 20, 12])).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_what_cannot_be_is_said():
    system = tiny_system("fiber")
    with pytest.raises(ConfigError, match="multiple of 16"):
        Grounding(system, width=20)
    with pytest.raises(ConfigError, match="levels is 2"):
        Grounding(system, width=16, levels=2)
    model, batch = tiny_model("fiber", "grounding"), batch_for("grounding")
    assert batch.grounding is not None
    with pytest.raises(DataError, match="no objects"):
        model(replace(batch, grounding=replace(batch.grounding, objects=None)))


def test_padding_changes_nothing():
    """Pictures of unlike size in one batch give what each gives alone, to the last place of the coarsest level."""
    system = tiny_system("fiber").eval()
    head = Grounding(system, width=16, blocks=2, levels=4, anchor_scale=2.0)
    torch.nn.init.normal_(head.predictor.tower[0].offset.bias, std=2.0)  # type: ignore[union-attr,arg-type]
    given = batch_for("grounding", 2)
    assert given.grounding is not None
    sizes = torch.tensor([[52, 36], [40, 60]])  # more than a window at every stage: what fits in one is not shifted
    pixels = torch.zeros(2, 3, 52, 60)
    for row, (height, width) in enumerate(sizes.tolist()):
        pixels[row, :, :height, :width] = torch.randn(3, height, width, generator=torch.Generator().manual_seed(row))
    with torch.no_grad():
        text = system.encode_text(given.grounding.tokens)
        together = head.scores(system.fuse_maps(system.encode_maps(Images(pixels, sizes)), text), sizes)
        for row, (height, width) in enumerate(sizes.tolist()):
            own = Images(pixels[row : row + 1, :, :height, :width], sizes[row : row + 1])
            alone = head.scores(system.fuse_maps(system.encode_maps(own), text[[row]]), own.sizes)
            whole = torch.cat([torch.zeros(h, w).flatten() for h, w in together.grids]).bool()
            places = whole.split([h * w for h, w in together.grids])
            for place, (_, w), (h_own, w_own) in zip(places, together.grids, alone.grids, strict=True):
                place.view(-1, w)[:h_own, :w_own] = True
            for name in ("codes", "centerness", "tokens"):
                found = getattr(together, name)[row, whole]
                torch.testing.assert_close(found, getattr(alone, name)[0], atol=2e-5, rtol=1e-4)


def test_recomputing_changes_nothing_and_keeps_less():
    model, batch = tiny_model("fiber", "grounding").train(), batch_for("grounding")

    def step(on: bool) -> tuple[int, list[torch.Tensor]]:
        recompute(model, on)
        model.zero_grad()
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(batch)["grounding"]["loss"]
        loss.backward()
        return sum(sizes), [p.grad.clone() for p in model.heads.parameters() if p.grad is not None]

    (kept, gradients), (less, again) = step(False), step(True)
    assert less < kept / 2
    for ours, theirs in zip(again, gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_is_close(dtype):
    """The losses themselves are always in full precision."""
    model, batch = tiny_model("fiber", "grounding").train(), batch_for("grounding")
    expected = model(batch)["grounding"]
    with torch.autocast("cpu", dtype):
        losses = model(batch)["grounding"]
    losses["loss"].backward()
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], atol=0.02, rtol=0.02)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
