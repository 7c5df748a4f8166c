"""The parts of FIBER's detector against recordings: convolution, pyramid, dynamic head, anchors, losses, choice of boxes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.golden.fiber_fine import label_map, objects_of, per_number, place, scores_of
from tests.golden.vectors import Tolerance, Vectors, assert_close, load, vectors
from vlfuse.layers.dyhead import DynamicBlock, misread_as
from vlfuse.layers.pyramid import FeaturePyramid, drop_blocks
from vlfuse.layers.regions import RegionPredictor
from vlfuse.objectives.grounding import box_loss, region_losses, region_targets, token_focal
from vlfuse.ops.anchors import anchors_of
from vlfuse.ops.boxes import centerness, centres, decode, encode, giou
from vlfuse.ops.deform import deform_conv2d
from vlfuse.tasks.regions import Keep, find_regions

PIXEL = 1.0


def anchors(golden: Vectors, grids=None) -> list[torch.Tensor]:
    config = golden.meta["config"]
    strides = config.get("strides", [8 * 2**i for i in range(len(config["levels"]))])
    scale = config.get("anchor_sizes", [64])[0] / strides[0]
    return anchors_of(grids or config["levels"], strides, scale, pixel=PIXEL)


@pytest.mark.parametrize("path", vectors("fiber_fine_deform_conv*.json"))
def test_deformable_convolution(path: Path):
    """Forward and gradients; offsets of a larger map are read as the published kernel reads them."""
    golden = load(path)
    for case in golden.meta["cases"]:
        name = f"c{case['case']}_"
        given = {k: t.requires_grad_() for k, t in golden.get(f"in/{name}").items() if k != "cotangent"}
        size = case["output"][2:]
        offset, mask = (misread_as(given[k], size) for k in ("offset", "mask"))
        y = deform_conv2d(given["x"], offset, mask, given["weight"], given["bias"], case["stride"], case["padding"])
        assert_close(y, golden[f"out/{name}y"], golden.tolerance, f"{name}y")
        (y * golden[f"in/{name}cotangent"]).sum().backward()
        for key, expected in golden.get(f"grad/{name}").items():
            assert_close(given[key].grad, expected, golden.tolerance, f"grad/{name}{key}")


@pytest.mark.parametrize("path", vectors("fiber_fine_fpn*.json"))
def test_pyramid(path: Path, monkeypatch):
    """With and without drop-block, whose draws are recorded: the coarser level draws first."""
    golden = load(path)
    channels, width = golden.meta["config"]["in_channels"][1:], golden.meta["config"]["out_channels"]
    pyramid = FeaturePyramid(channels, width, levels=len(golden.get("out/eval_")), drop_block=0.3)
    place(pyramid, golden.get("state/"), "fusion_backbone.backbone.fpn.", "heads.grounding.pyramid.")
    maps = [golden[f"in/stage{i + 3}"] for i in range(len(channels))]
    for i, level in enumerate(pyramid.eval()(maps)):
        assert_close(level, golden[f"out/eval_p{i + 3}"], golden.tolerance, f"eval_p{i + 3}")
    draws = iter(golden[key] for key in ("in/uniform_p4", "in/uniform_p3"))
    monkeypatch.setattr(torch, "rand", lambda *_size, **_options: next(draws))
    for i, level in enumerate(pyramid.train()(maps)):
        assert_close(level, golden[f"out/train_p{i + 3}"], golden.tolerance, f"train_p{i + 3}")


def test_drop_block_keeps_the_mean_of_ones():
    x = torch.ones(2, 3, 9, 9)
    dropped = drop_blocks(x, torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0)), 0.3)
    assert (dropped == 0).any()
    torch.testing.assert_close(dropped.mean(), torch.tensor(1.0))


@pytest.mark.parametrize("path", vectors("fiber_fine_dyconv*.json"))
def test_dynamic_block(path: Path):
    golden = load(path)
    levels = per_number(golden, "in/level")
    block = DynamicBlock(levels[0].shape[1], published=True)
    place(block, golden.get("state/"), "rpn.head.dyhead_tower.0.", "heads.grounding.predictor.tower.0.")
    inner: dict[str, list[torch.Tensor]] = {}
    for name in ("coarser", "same", "finer", "offset"):
        inner[name] = []
        block.get_submodule(name).register_forward_hook(lambda _m, _i, y, n=name: inner[n].append(y))
    found = block(levels)
    for i, level in enumerate(found):
        assert_close(level, golden[f"out/level{i}"], golden.tolerance, f"level{i}")
    views = {"same": inner["same"][1], "finer": inner["finer"][0], "coarser_before_upsample": inner["coarser"][1]}
    for name, view in views.items():
        key = f"mid/level1_{name if name == 'same' else 'from_' + name}"
        assert_close(view, golden[key], golden.tolerance, key)
    views["coarser"] = golden["mid/level1_from_coarser"]
    weights = torch.stack([block.weight(views[name]).flatten() for name in ("same", "finer", "coarser")])
    assert_close(weights, golden["mid/level1_scale_attention"], golden.tolerance, "scale attention")


@pytest.mark.parametrize("path", vectors("fiber_fine_head*.json"))
def test_head(path: Path):
    golden = load(path)
    config, levels = golden.meta["config"], per_number(golden, "in/level")
    head = RegionPredictor(config["channels"], config["text_dim"], len(levels), config["num_blocks"], published=True)
    place(head, golden.get("state/"), ours="heads.grounding.predictor.", levels=len(levels))
    found = head(levels, golden["in/lang_embedded"], golden["in/text_mask"].bool())
    expected, _ = scores_of(golden, "out/")
    assert found.grids == expected.grids
    for name in ("codes", "centerness", "tokens"):
        assert_close(getattr(found, name), getattr(expected, name), golden.tolerance, name)


@pytest.mark.parametrize("path", vectors("fiber_fine_anchors_atss*.json"))
def test_anchors_and_their_objects(path: Path):
    golden = load(path)
    levels = anchors(golden)
    for i, level in enumerate(levels):
        assert torch.equal(level, golden[f"out/anchors_level{i}"]), f"level {i}"
    objects, labels = objects_of(golden), torch.cat(per_number(golden, "in/gt_labels"))
    tokens = golden["in/positive_map"].shape[1]
    row, names, positive = region_targets(
        objects, len(golden["in/image_sizes"]), levels, tokens, PIXEL, background=True
    )
    for i in range(len(row)):
        assert torch.equal(torch.where(positive[i], labels[row[i]], 0), golden[f"out/labels{i}"])
        index = positive[i].nonzero().flatten()
        assert torch.equal(index, golden[f"out/positive_index{i}"])
        assert torch.equal(names[i], golden[f"out/token_targets{i}"])
        own, boxes = torch.cat(levels)[index], objects.boxes[row[i, index]]
        codes = encode(boxes, own, PIXEL)
        assert_close(codes, golden[f"out/reg_targets{i}"][index], golden.tolerance, f"reg_targets{i}")
        assert_close(centerness(centres(own), decode(codes, own, PIXEL)), golden[f"out/centerness_targets{i}"], golden.tolerance, f"centerness_targets{i}")  # fmt: skip


@pytest.mark.parametrize("path", vectors("fiber_fine_box_losses*.json"))
def test_box_coder_and_losses(path: Path):
    golden = load(path)
    own = golden["in/anchors"]
    codes = encode(golden["in/gt"], own, PIXEL)
    assert_close(codes, golden["out/encoded"], golden.tolerances.get("encoded", golden.tolerance), "encoded")
    for name, given in (("encoded", golden["out/encoded"]), ("pred", golden["in/pred"])):
        assert_close(decode(given, own, PIXEL), golden[f"out/decoded_{name}"], golden.tolerance, f"decoded_{name}")
    codes, target = golden["in/giou_pred"].requires_grad_(), decode(golden["in/giou_target"], own, PIXEL)
    predicted = decode(codes, own, PIXEL)
    assert_close(1 - giou(predicted, target), golden["out/giou_loss_per_box"], golden.tolerance, "giou")
    loss = box_loss(predicted, target, golden["in/giou_weight"])
    assert_close(loss, golden["out/loss_giou_weighted_sum"], golden.tolerance, "sum of giou losses")
    loss.backward()
    assert_close(codes.grad, golden["grad/giou_pred"], golden.tolerance, "grad/giou_pred")
    central = centerness(centres(golden["in/center_anchors"]), golden["in/gt"])
    assert_close(central, golden["out/center_targets"], golden.tolerance, "center_targets")
    logits = golden["in/center_logits"].requires_grad_()
    loss = F.binary_cross_entropy_with_logits(logits, central, reduction="sum")
    assert_close(loss, golden["out/loss_centerness_sum"], golden.tolerance, "sum of centerness losses")
    loss.backward()
    assert_close(logits.grad, golden["grad/center_logits"], golden.tolerance, "grad/center_logits")


@pytest.mark.parametrize("path", vectors("fiber_fine_token_loss*.json"))
def test_token_loss(path: Path):
    golden = load(path)
    logits = golden["in/logits"].requires_grad_()
    loss = token_focal(logits, golden["in/targets"], **golden.meta["config"])
    assert_close(loss, golden["out/elementwise_without_mask"], golden.tolerance, "every logit")
    total = (loss * golden["in/text_mask"][:, None]).sum()
    assert_close(total, golden["out/loss_token_sum"], golden.tolerance, "sum")
    total.backward()
    assert_close(logits.grad, golden["grad/logits"], golden.tolerance, "grad/logits")


@pytest.mark.parametrize("path", vectors("fiber_fine_losses*.json"))
def test_losses(path: Path):
    golden = load(path)
    scores, inputs = scores_of(golden)
    mask = golden["in/text_mask"].bool()
    losses = region_losses(scores, anchors(golden), objects_of(golden), mask, PIXEL, background=True)
    for name, key in (("box", "reg"), ("centerness", "centerness"), ("tokens", "dot_product_token")):
        assert_close(losses[name], golden[f"out/loss_{key}"], golden.tolerance, key)
    total = torch.stack(list(losses.values())).sum()
    assert_close(total, golden["out/loss_total"], golden.tolerance, "total")
    total.backward()
    keys = [f"{name}_level{i}" for name in ("bbox", "centerness", "token_logits") for i in range(len(scores.grids))]
    for key, tensor in zip(keys, inputs, strict=True):
        expected = golden[f"grad/{key}"]
        got = torch.zeros_like(expected) if tensor.grad is None else tensor.grad
        assert_close(got, expected, golden.tolerance, f"grad/{key}")


@pytest.mark.parametrize("path", vectors("fiber_fine_postprocess_*.json"))
def test_choice_of_boxes(path: Path):
    golden = load(path)
    config, sizes, allowed = golden.meta["config"], golden["in/image_sizes"], golden.meta["tolerance"]
    scores, _ = scores_of(golden)
    rows, numbers = label_map(golden.meta["positive_map_label_to_token"], scores.tokens.shape[2])
    keep = Keep(config["pre_nms_thresh"], config["pre_nms_top_n_per_level"], config["nms_thresh"], config["detections_per_image"])  # fmt: skip
    with torch.no_grad():
        found = find_regions(scores, anchors(golden), sizes, [rows] * len(sizes), keep, PIXEL, padding=True)
    for i, regions in enumerate(found):
        assert len(regions) == golden.meta["num_detections"][i]
        assert torch.equal(torch.tensor(numbers)[regions.labels], golden[f"out/labels{i}"])
        assert_close(regions.scores, golden[f"out/scores{i}"], Tolerance(allowed["scores_atol"]), f"scores{i}")
        assert_close(regions.boxes, golden[f"out/boxes{i}"], Tolerance(allowed["boxes_atol"]), f"boxes{i}")
