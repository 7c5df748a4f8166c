"""Single blocks of FIBER's two backbones, with and without the other side, against recordings; gradients included."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.golden.fiber import gradient_tolerance
from tests.golden.vectors import Vectors, assert_close, load, vectors
from vlfuse.backbones.swin import Swin, SwinConfig
from vlfuse.backbones.text import TextConfig, TextEmbeddings, TextLayer
from vlfuse.checkpoints.fiber_coarse import rules
from vlfuse.checkpoints.mapping import Report, Target, rename, resolve
from vlfuse.fusion.gated import GatedCrossAttention
from vlfuse.ops.windows import partition
from vlfuse.systems.fiber import FiberConfig

PUBLISHED = FiberConfig()  # only for the names of keys


def place(block: torch.nn.Module, theirs: str, ours: str, state: dict[str, Tensor], config: FiberConfig) -> None:
    """Load a block's own keys; theirs and ours are the prefixes that make them keys of the whole model."""
    report = Report()
    tensors = rename({theirs + key: tensor for key, tensor in state.items()}, rules(config), report)
    assert not report.unknown, f"keys without a rule: {report.unknown}"
    block.load_state_dict({name.removeprefix(ours): tensor for name, tensor in tensors.items()})


def assert_block_gradients(
    golden: Vectors, case: str, block: torch.nn.Module, theirs: str, ours: str, inputs: dict[str, Tensor], config
) -> None:
    for key, expected in golden.get(f"grad/{case}.").items():
        if key.startswith("in."):
            found = inputs[key.removeprefix("in.")].grad
        else:
            target = resolve(theirs + key, rules(config))
            assert isinstance(target, Target), f"{key} has no place in our block"
            found = target.of(block.get_parameter(target.name.removeprefix(ours)).grad)
        name = f"grad/{case}.{key}"
        assert_close(found, expected, gradient_tolerance(golden, name, expected), name)


@pytest.mark.parametrize("path", vectors("fiber_coarse_swin_fusion_block*.json"))
def test_swin_blocks(path: Path):
    golden = load(path)
    for case, given in golden.meta["cases"].items():
        check_swin_block(golden, case, given)


def check_swin_block(golden: Vectors, case: str, given: dict) -> None:
    width, heads, grid = given["dim"], given["num_heads"], tuple(given["input_resolution"])
    number = 1 if given["requested_shift"] else 0  # every second block shifts its windows
    cross = GatedCrossAttention(width, given["dim_text"], heads, norm=True) if given["dim_text"] else None
    config = SwinConfig(width, (2,), (heads,), given["effective_window"], mlp_ratio=given["mlp_ratio"], drop_path=0.0)
    swin = Swin(config, {(0, number): cross} if cross else {})
    block = swin.stages[0].blocks[number]
    theirs, ours = "vit_model.layers.0.blocks.0.", "system.image.stages.0.blocks.0."
    place(block, theirs, ours, golden.get(f"state/{case}."), PUBLISHED)
    inputs = {name: golden[f"in/{case}.{name}"] for name in ("x", "y") if f"in/{case}.{name}" in golden}
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    layout = swin.layout(grid, None, shifted=bool(number))
    assert layout.shift == (given["effective_shift"],) * 2

    alone = swin.block(number, inputs["x"], grid, None)
    corrected: list[Tensor] = []
    block.drop_path.register_forward_pre_hook(lambda _module, values: corrected.append(values[0]))
    text = (inputs["y"], golden[f"in/{case}.y_mask"][:, 0, 0] >= 0) if cross else ()
    fused = swin.block(number, inputs["x"], grid, None, *text)

    outputs = {"no_text": alone, "y_given": fused}
    for name, expected in golden.get(f"out/{case}.").items():
        assert_close(outputs[name], expected, golden.tolerance_of(f"out/{case}.{name}"), f"out/{case}.{name}")
    windows = partition(corrected[0].view(-1, *grid, width), layout.window, layout.shift).flatten(0, 1)
    name = f"mid/{case}.attn_windows"
    assert_close(windows, golden[name], golden.tolerance_of(name), name)
    fused.backward(golden[f"in/{case}.grad_out"])
    assert_block_gradients(golden, case, block, theirs, ours, inputs, PUBLISHED)


@pytest.mark.parametrize("path", vectors("fiber_coarse_roberta_fusion_layer*.json"))
def test_text_layers(path: Path):
    golden = load(path)
    for case, index in golden.meta["config"]["layer_index"].items():
        check_text_layer(golden, case, index)


def check_text_layer(golden: Vectors, case: str, index: int) -> None:
    given, state = golden.meta["config"], golden.get(f"state/{case}.")
    fuse_last = given["num_fuse_block"]
    text = TextConfig(
        width=given["hidden"],
        heads=given["heads"],
        intermediate=len(state["intermediate.dense.weight"]),
        norm_eps=given["layer_norm_eps"],
        dropout=0.0,
    )
    config = FiberConfig(text=text, fuse_last=fuse_last)
    image_width = state["crossattention_t2i.self.key.weight"].shape[1] if index >= text.layers - fuse_last else 0
    cross = GatedCrossAttention(text.width, image_width, text.heads, norm=False) if image_width else None
    layer = TextLayer(text, cross)
    theirs, ours = f"text_transformer.encoder.layer.{index}.", f"system.text.layers.{index}."
    place(layer, theirs, ours, state, config)
    inputs = {name: golden[f"in/{case}.{name}"] for name in ("hidden", "image") if f"in/{case}.{name}" in golden}
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    x, image = inputs["hidden"], inputs.get("image")
    visible = golden["in/attention_mask"] >= 0
    middle: dict[str, Tensor] = {}
    layer.attention.register_forward_hook(lambda *call: middle.__setitem__("self_attention_output", call[-1]))
    outputs = {"text_only": layer(x, visible), "text_only_nolastnorm": layer(x, visible, final_norm=False)}
    if cross:
        cross.proj.register_forward_hook(lambda *call: middle.__setitem__("cross_attention_output", call[-1]))
        causal = golden["mid/causal_mask_allowed"].bool()
        outputs["fused_causal"] = layer(x, causal, image)
        outputs["fused_nolastnorm"] = layer(x, visible, image, final_norm=False)
        outputs["fused"] = layer(x, visible, image)
    for part, found in (("out", outputs), ("mid", middle)):
        for name, expected in golden.get(f"{part}/{case}.").items():
            key = f"{part}/{case}.{name}"
            assert_close(found[name], expected, golden.tolerance_of(key), key)
    if cross:
        outputs["fused"].backward(golden[f"in/{case}.grad_out"])
        assert_block_gradients(golden, case, layer, theirs, ours, inputs, config)


@pytest.mark.parametrize("path", vectors("fiber_coarse_roberta_fusion_layer*.json"))
def test_text_embeddings(path: Path):
    """Padding gets position 1 and does not advance the counter, even in the middle of a text."""
    golden = load(path)
    state = golden.get("state/embeddings.")
    vocab_size, width = state["word_embeddings.weight"].shape
    text = TextConfig(
        vocab_size=vocab_size,
        width=width,
        heads=golden.meta["config"]["heads"],
        positions=len(state["position_embeddings.weight"]),
        norm_eps=golden.meta["config"]["layer_norm_eps"],
        dropout=0.0,
    )
    embeddings = TextEmbeddings(text)
    place(embeddings, "text_transformer.embeddings.", "system.text.embeddings.", state, PUBLISHED)
    ids, positions = golden["in/embeddings.input_ids"], []
    embeddings.position.register_forward_pre_hook(lambda _module, values: positions.append(values[0]))
    assert_close(embeddings(ids), golden["out/embeddings"], golden.tolerance_of("out/embeddings"), "out/embeddings")
    assert torch.equal(positions[0], golden["mid/embeddings.position_ids"])
