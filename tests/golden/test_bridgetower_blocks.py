"""BridgeTower's parts against recordings of the published code and of Hugging Face's: bridges, cross-modal layers, heads, positions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.golden.vectors import Tolerance, Vectors, assert_close, load, vectors
from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig, resize_positions
from vlfuse.checkpoints.bridgetower import rules
from vlfuse.checkpoints.mapping import Report, Target, rename, resolve
from vlfuse.fusion.bridge import Bridge
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Model
from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig

# Where the reference's module stands in the full model, for a model of one image and one text layer and two cross-modal ones.
PLACES = {
    "cross_layer.": "cross_modal_text_layers.0.",
    "link_tower.": "cross_modal_text_link_tower.0.",
    "pooler.": "cross_modal_text_pooler.",
    "itc_head.": "itc_text_head.",
}


def official(key: str) -> str:
    return next((place + key.removeprefix(name) for name, place in PLACES.items() if key.startswith(name)), key)


def parts(golden: Vectors) -> Model:
    """A model whose text stream holds the recorded weights; the rest is not looked at."""
    meta, state = golden.meta["config"], golden.get("state/")
    width = meta["hidden_size"]
    text = TextConfig(meta["vocab_size"], width, 2, meta["num_heads"], dropout=0.0)
    config = BridgeTowerConfig(
        ViTConfig(width=width, layers=2, heads=1, patch=8, image_size=8),
        text,
        layers=2,
        width=width,
        heads=meta["num_heads"],
        intermediate=meta["intermediate_size"],
        dropout=0.0,
        cross_eps=meta["layer_norm_eps_cross"],
        bridge_eps=meta["layer_norm_eps_link"],
        embed_dim=len(state["itc_head.fc.bias"]),
    )
    system = BridgeTower(config)
    model = Model(system, {"mlm": OBJECTIVES["mlm"](system), "itm": OBJECTIVES["itm"](system)})
    report = Report()
    given = rename({official(key): tensor for key, tensor in state.items()}, rules(), report)
    assert not report.unknown, report.unknown
    assert given.keys() <= model.state_dict().keys()
    model.load_state_dict(model.state_dict() | given)
    return model.eval()


def run_layer(layer: nn.Module, x: Tensor, mask: Tensor | None, other: Tensor, other_mask: Tensor | None) -> Tensor:
    return layer.read(layer.own(x, mask), other, other_mask)  # type: ignore[operator]


@pytest.mark.parametrize("path", vectors("bridgetower_components*.json"))
def test_parts_and_their_gradients(path: Path):
    golden = load(path)
    model = parts(golden)
    system, mlm, itm = model.system, model.head("mlm"), model.head("itm")
    layer, bridge = system.text_layers[0], system.text_bridges[0]
    names = ("hidden_states", "cross_modal_hidden_states", "image_states")
    own, cross, image = (golden[f"in/{name}"].requires_grad_() for name in names)
    mask, small = golden["in/text_mask"].bool(), golden["in/small"]
    linked = bridge(own, cross, mask)
    text_out = run_layer(layer, linked, mask, image, None)
    image_out = run_layer(layer, image, None, linked, mask)
    itm_logits = itm.classifier(torch.cat([system.text_pooler(text_out[:, 0]), system.text_pooler(image_out[:, 0])], 1))
    mlm_logits, itc = mlm.logits(text_out), nn.functional.normalize(system.text_projection(text_out[:, 0]), dim=-1)
    loss = mlm_logits.pow(2).mean() + itm_logits.pow(2).mean() + 0.1 * itc[:, :3].sum() + image_out.abs().mean()
    attended = layer.own(linked, mask)
    outputs = {
        "out/link_tower": linked,
        "out/cross_layer_text": text_out,
        "out/cross_layer_image": image_out,
        "mid/self_attention_block": attended,
        "mid/cross_attention_block": layer.cross_norm(attended + layer.cross(attended, image, None)),
        "out/pooler": system.text_pooler(text_out[:, 0]),
        "out/itm_logits": itm_logits,
        "out/mlm_logits": mlm_logits,
        "out/itc": itc,
        "out/mlm_transform_small": mlm.norm(nn.functional.gelu(mlm.dense(small))),
        "out/link_tower_small": bridge(small, 0.5 * small, mask),
        "out/cross_layer_small": run_layer(layer, small, mask, 0.7 * small, mask),
        "out/loss_scalar": loss,
    }
    for name, found in outputs.items():
        assert_close(found, golden[name], golden.tolerance, name)
    loss.backward()
    inputs = {f"in_{name}": tensor.grad for name, tensor in zip(names, (own, cross, image), strict=True)}
    for key, expected in golden.get("grad/").items():
        if key in inputs:
            found = inputs[key]
        else:
            target = resolve(official(key), rules())
            assert isinstance(target, Target), key
            found = target.of(model.get_parameter(target.name).grad)  # type: ignore[arg-type]
        assert_close(found, expected, Tolerance(1e-4 * float(expected.abs().max())), f"grad/{key}")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", vectors("bridgetower_components*.json"))
def test_a_lone_query_reads_as_one_of_many(path: Path):
    """The first token alone, with keys and values never made, is what it is among all."""
    golden = load(path)
    layer = parts(golden).system.text_layers[0]
    mask, x, image = golden["in/text_mask"].bool(), golden["in/hidden_states"], golden["in/image_states"]
    whole = run_layer(layer, x, mask, image, None)
    alone = layer.read(layer.own(x, mask, first=True), image, None)
    assert_close(alone, whole[:, :1], golden.tolerance, "lone query")
    torch.testing.assert_close(
        run_layer(layer, image, None, x, mask)[:, :1], layer.read(layer.own(image, None, first=True), x, mask)
    )


@pytest.mark.parametrize("path", vectors("bridgetower_hf_link_variants*.json"))
def test_kinds_of_bridges(path: Path):
    golden = load(path)
    own, cross = golden["in/hidden_states"], golden["in/cross_modal_hidden_states"]
    kinds = golden.get("out/")
    for kind, expected in kinds.items():
        bridge = Bridge(kind, golden.meta["config"]["hidden_size"], 1, golden.meta["config"]["layer_norm_eps"])
        report = Report()
        keys = {f"cross_modal_text_link_tower.0.{key}": t for key, t in golden.get(f"state/{kind}.").items()}
        given = rename(keys, rules(), report)
        bridge.load_state_dict({name.removeprefix("system.text_bridges.0."): t for name, t in given.items()})
        assert_close(bridge(own, cross, None), expected, golden.tolerance, kind)


@pytest.mark.parametrize("path", vectors("bridgetower_posembed*.json"))
def test_positions_at_another_resolution(path: Path):
    golden = load(path)
    for number, case in enumerate(golden.meta["cases"]):
        table, expected = golden[f"in/case{number}"], golden[f"out/case{number}"]
        side = case["after"] // case["patch_size"]
        found = resize_positions(table.view(-1, table.shape[-1]), (side, side))
        assert_close(found, expected.view(-1, expected.shape[-1]), golden.tolerance, f"case {number}")
        assert case["identical"] == torch.equal(found, table.view(-1, table.shape[-1])[: len(found)]) or side == 0


def test_positions_keep_their_grid_when_it_is_their_own():
    config = ViTConfig(width=8, layers=1, heads=1, patch=4, image_size=12)
    table = torch.randn(10, 8)
    assert resize_positions(table, (3, 3)) is table
    assert resize_positions(table, (2, 5)).shape == (11, 8)
    assert replace(config, image_size=24).side == 6
