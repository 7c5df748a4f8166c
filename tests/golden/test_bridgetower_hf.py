"""Hugging Face's BridgeTower, recorded: the same weights under its names and its eps, and under the official ones."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.golden.fiber import images_of, tokens_of
from tests.golden.vectors import assert_close, load, vectors
from vlfuse.checkpoints.bridgetower import import_bridgetower
from vlfuse.checkpoints.bridgetower_hf import import_huggingface

# The official name of what Hugging Face renamed.
OFFICIAL = (
    (r"^bridgetower\.", ""),
    (r"^vision_model\.visual\.embeddings\.class_embedding", "vit_model.visual.class_embedding"),
    (r"^vision_model\.visual\.embeddings\.position_embedding\.weight", "vit_model.visual.positional_embedding"),
    (r"^vision_model\.visual\.embeddings\.patch_embedding\.", "vit_model.visual.conv1."),
    (r"^vision_model\.", "vit_model."),
    (r"^text_model\.", "text_transformer."),
)


@pytest.mark.parametrize("path", vectors("bridgetower_hf_forward*.json"))
def test_both_layouts_compute_as_recorded(path: Path):
    golden = load(path)
    theirs, _ = import_huggingface(golden.get("state/"), golden.meta["config"])
    tensors = golden.get("state_official/")
    for key, tensor in golden.get("state/").items():
        for pattern, name in OFFICIAL:
            key = re.sub(pattern, name, key)
        tensors[key] = tensor
    heads = golden.meta["config"]["text_config"]["num_attention_heads"]
    official, _ = import_bridgetower(tensors, text_heads=heads, cross_heads=heads)
    image = images_of(golden["in/pixel_values"])
    text = tokens_of(golden["in/input_ids"], golden["in/attention_mask"])
    masked = replace(text, ids=golden["in/input_ids_mlm"])
    named = (
        ("text_features", "image_features", "pooler_output"),
        ("official_text_feats", "official_image_feats", "official_cls_feats"),
    )
    for model, prefix, names in ((theirs, "", named[0]), (official, "official_", named[1])):
        system = model.system
        state = system.encode_image(image)
        fused = system.fuse(state, system.encode_text(text))
        mlm_logits = model.head("mlm").logits(system.fuse(state, system.encode_text(masked)).text)
        itm_logits = model.head("itm").classifier(fused.pooled)
        found = dict(zip(names, (fused.text, fused.image, fused.pooled), strict=True))
        found |= {f"{prefix}mlm_logits": mlm_logits, f"{prefix}itm_logits": itm_logits}
        if not prefix:
            found["loss_mlm"] = F.cross_entropy(mlm_logits.flatten(0, 1), golden["in/labels_mlm"].flatten())
            found["loss_itm"] = F.cross_entropy(itm_logits, golden["in/labels_itm"])
        for name, value in found.items():
            assert_close(value, golden[f"out/{name}"], golden.tolerance, name)


@pytest.mark.parametrize("path", vectors("bridgetower_hf_forward*.json"))
def test_any_resolution(path: Path):
    golden = load(path)
    model, _ = import_huggingface(golden.get("state/"), golden.meta["config"])
    pixels = golden["in/pixel_values_nonsquare"]
    count = len(pixels)
    text = tokens_of(golden["in/input_ids"][:count], golden["in/attention_mask"][:count])
    with torch.no_grad():
        fused = model.system.fuse(model.system.encode_image(images_of(pixels)), model.system.encode_text(text))
    assert_close(fused.text, golden["out/nonsquare_text_features"], golden.tolerance, "text")
    assert_close(fused.image, golden["out/nonsquare_image_features"], golden.tolerance, "image")
