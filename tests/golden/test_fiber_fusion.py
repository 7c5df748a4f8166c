"""FIBER's forward passes against recordings: fusion encoder, dual encoder, and a checkpoint used at another resolution."""

from pathlib import Path

import pytest
import torch

from tests.golden.fiber import batch_of, images_of, model_of, recorded, texts_of, tokens_of
from tests.golden.vectors import assert_close, load, vectors
from vlfuse.checkpoints.fiber_coarse import import_fiber_coarse
from vlfuse.checkpoints.resize import resize_bias_table
from vlfuse.systems.base import States


@pytest.mark.parametrize("path", vectors("fiber_coarse_fusion*.json"))
@torch.no_grad()
def test_fusion(path: Path):
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).eval()
    system, mlm, itm = model.system, model.head("mlm"), model.head("itm")
    middle = golden.get("mid/")
    with recorded(system, list(middle)) as found:
        image = system.encode_image(images_of(golden["in/image"]))
        text = system.encode_text(tokens_of(golden["in/text_ids"], golden["in/text_masks"]))
        fused = system.fuse(image, text)
    for name, expected in middle.items():
        assert_close(found[name], expected, golden.tolerance_of(f"mid/{name}"), f"mid/{name}")
    logits = itm.classifier(fused.pooled)
    masked = system.fuse(image, system.encode_text(tokens_of(golden["in/text_ids_mlm"], golden["in/text_masks"])))
    labels = golden["in/text_labels_mlm"]
    captions = texts_of(golden, masked_ids=golden["in/text_ids_mlm"], mask_labels=labels)
    batch = batch_of(golden["in/image"], captions=captions)
    outputs = {
        "cls_feats": fused.pooled,
        "image_feats": fused.image,
        "text_feats": fused.text,
        "itm_logits": logits,
        "rank_score": itm.scores(system, image, text),
        "mlm_text_feats": masked.text,
        "mlm_logits": mlm.logits(masked.text),
        "mlm_logits_unmasked": mlm.logits(fused.text),
        "loss_mlm": mlm(system, States(system, batch), batch)["loss"],
    }
    for name, expected in golden.get("out/").items():
        assert_close(outputs[name].reshape(expected.shape), expected, golden.tolerance_of(f"out/{name}"), f"out/{name}")


@pytest.mark.parametrize("path", vectors("fiber_coarse_dual_encoder*.json"))
@torch.no_grad()
def test_dual_encoder(path: Path):
    golden = load(path)
    system = model_of(golden.meta, golden.get("state/")).eval().system
    middle = golden.get("mid/")
    with recorded(system, list(middle)) as found:
        image = system.project_image(system.encode_image(images_of(golden["in/image"])))
        tokens = tokens_of(golden["in/text_ids"], golden["in/text_masks"])
        text = system.project_text(system.encode_text(tokens))
        found["image_feats"] = system.image_transform_itc(found["final_norm"])
        last = f"text_layer{system.config.text.layers - 1}"
        found["text_feats"] = system.text_transform_itc(found[last])
    for name, expected in middle.items():
        assert_close(found[name], expected, golden.tolerance_of(f"mid/{name}"), f"mid/{name}")
    outputs = {
        "image_cls": image,
        "text_cls": text,
        "similarity": image @ text.T,
        "image_feats": found["image_feats"],
        "text_feats": found["text_feats"],
    }
    for name, expected in golden.get("out/").items():
        assert_close(outputs[name], expected, golden.tolerance_of(f"out/{name}"), f"out/{name}")


@pytest.mark.parametrize("path", vectors("fiber_coarse_bias_table_adapt*.json"))
def test_bias_tables_are_resampled(path: Path):
    golden = load(path)
    for name, table in golden.get("in/").items():
        expected = golden[f"out/{name}"]
        window = (round(len(expected) ** 0.5) + 1) // 2
        assert_close(resize_bias_table(table, window), expected, golden.tolerance_of(f"out/{name}"), name)


@pytest.mark.parametrize("path", vectors("fiber_coarse_load_resize*.json"))
@torch.no_grad()
def test_checkpoint_at_another_resolution(path: Path):
    golden = load(path)
    state, heads = golden.get("state/"), golden.meta["config"]["roberta"]["heads"]
    model, report = import_fiber_coarse(state, resolution=golden.meta["resolution_after"], text_heads=heads)
    changed = golden.meta["resolution_before"] != golden.meta["resolution_after"]
    assert any("resized" in note for note in report.notes) == changed
    system = model.system
    image = system.encode_image(images_of(golden["in/image"]))
    fused = system.fuse(image, system.encode_text(tokens_of(golden["in/text_ids"], golden["in/text_masks"])))
    outputs = {
        "cls_feats": fused.pooled,
        "text_feats": fused.text,
        "image_feats": fused.image,
        "image_cls_itc": system.project_image(image),
    }
    for name, expected in golden.get("out/").items():
        if name.startswith("adapted."):
            outputs[name] = model.state_dict()[report.mapped[name.removeprefix("adapted.")]]
        assert_close(outputs[name], expected, golden.tolerance_of(f"out/{name}"), f"out/{name}")
