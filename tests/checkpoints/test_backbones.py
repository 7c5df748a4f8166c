"""Starting from published backbones: the same outputs as the models they come from."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig, resize_positions
from vlfuse.checkpoints import vit
from vlfuse.checkpoints.backbones import init_backbones
from vlfuse.checkpoints.mapping import invert
from vlfuse.systems.base import Model
from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.types import CheckpointError, ConfigError

transformers = pytest.importorskip("transformers")

SWIN = SwinConfig(embed_dim=8, depths=(2, 2, 3, 1), heads=(1, 2, 2, 4), window=4)
TEXT = TextConfig(vocab_size=31, width=12, layers=4, heads=3, intermediate=20, positions=12)


def fresh(window: int = SWIN.window) -> Model:
    swin = SwinConfig(SWIN.embed_dim, SWIN.depths, SWIN.heads, window)
    return Model(Fiber(FiberConfig(swin, TEXT, fuse_last=2, width=10)), {}).eval()


def randomise(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)


@pytest.fixture(scope="module")
def swin():
    config = transformers.SwinConfig(
        image_size=128, patch_size=4, embed_dim=8, depths=[2, 2, 3, 1], num_heads=[1, 2, 2, 4], window_size=4
    )
    model = transformers.SwinModel(config, add_pooling_layer=False).eval()
    randomise(model)
    return model


NAMES = {  # transformers 5 -> Microsoft
    r"^embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^embeddings\.norm": "patch_embed.norm",
    r"^layernorm\.": "norm.",
    r"^encoder\.": "",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"attention\.relative_position_bias\.": "attn.",
    r"attention\.o_proj": "attn.proj",
    r"attention\.q_proj": "attn.qkv",
}


def microsoft(model) -> dict[str, Tensor]:
    """The weights of transformers' Swin under the names of Microsoft's files."""
    state, out = model.state_dict(), {}
    for key, tensor in state.items():
        name = key
        for theirs, microsofts in NAMES.items():
            name = re.sub(theirs, microsofts, name)
        if ".q_proj." in key:
            tensor = torch.cat([state[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
        if ".k_proj." not in key and ".v_proj." not in key:
            out[name] = tensor
    return out


def shape_of(layout: str, model) -> dict:
    weights = microsoft(model)
    weights |= {"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)}
    if layout == "microsoft":  # buffers beside the weights, all under "model"
        buffers = {"layers.0.blocks.1.attn_mask": torch.zeros(64, 16, 16)}
        buffers["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
        return {"model": weights | buffers}
    if layout == "timm before 0.9":
        return weights
    moved = {
        re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", k): v
        for k, v in weights.items()
    }
    return {k.replace("head.", "head.fc."): v for k, v in moved.items()}


@pytest.mark.parametrize("layout", ["microsoft", "timm before 0.9", "timm since 0.9"])
def test_swin_computes_what_it_did(tmp_path, swin, layout):
    """Blocks, windows and the order in which four patches merge, against transformers' implementation."""
    torch.save(shape_of(layout, swin), tmp_path / "swin.pth")
    model = fresh()
    report = init_backbones(model, image=tmp_path / "swin.pth")
    assert not report.unknown and not report.notes
    assert all(".cross." in name for name in report.missing) and len(report.missing) == 2 * 9
    assert (
        report.dropped["head.fc.bias" if "since" in layout else "head.bias"]
        == "the classifier of the file's own labels"
    )
    pixels = torch.randn(2, 3, 128, 128)
    backbone = model.system.image
    x, grid, valid = backbone.embed(pixels, torch.tensor([[128, 128]] * 2))
    for number in range(len(SWIN.blocks)):
        x = backbone.block(number, x, grid, valid)
        x, grid, valid = backbone.after(number, x, grid, valid)
    with torch.no_grad():
        theirs = swin(pixels).last_hidden_state
    torch.testing.assert_close(backbone.norm(x), theirs, atol=1e-5, rtol=1e-5)


def test_tables_are_resized_to_the_window(tmp_path, swin):
    torch.save(shape_of("microsoft", swin), tmp_path / "swin.pth")
    model = fresh(window=6)
    report = init_backbones(model, image=tmp_path / "swin.pth")
    assert report.notes == ["bias tables resized from window 4 to 6 (bicubic); fine-tune before use at the new size"]
    assert model.get_parameter("system.image.stages.0.blocks.0.attention.bias_table").shape == (121, 1)


@pytest.mark.parametrize("layout", ["plain", "roberta.", "safetensors"])
def test_roberta_computes_what_it_did(tmp_path, layout):
    config = transformers.RobertaConfig(
        vocab_size=31,
        hidden_size=12,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=12,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )
    roberta = transformers.RobertaForMaskedLM(config).eval()
    randomise(roberta)
    state = {k: v.detach().clone() for k, v in roberta.state_dict().items()}
    if layout == "plain":
        state = {k.removeprefix("roberta."): v for k, v in state.items() if k.startswith("roberta.")}
        state |= {"pooler.dense.weight": torch.zeros(12, 12), "embeddings.position_ids": torch.arange(12)[None]}
    path = tmp_path / ("model.safetensors" if layout == "safetensors" else "pytorch_model.bin")
    save_file(state, path) if layout == "safetensors" else torch.save(state, path)
    model = fresh()
    report = init_backbones(model, text=tmp_path)
    assert not report.unknown and all(".cross." in name for name in report.missing)
    assert all(key.startswith("lm_head.") for key in report.dropped) or layout == "plain"
    ids = torch.tensor([[0, 5, 6, 7, 8, 2], [0, 9, 3, 2, 1, 1]])
    mask = ids != 1
    encoder = model.system.text
    x = encoder.embeddings(ids)
    for number in range(4):
        x = encoder.layer(number, x, mask)
    with torch.no_grad():
        theirs = roberta.roberta(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(x[mask], theirs[mask], atol=1e-5, rtol=1e-5)


def test_a_file_that_does_not_fit(tmp_path, swin):
    weights = microsoft(swin)
    torch.save({k: v for k, v in weights.items() if k != "norm.bias"}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: system\.image\.norm\.bias"):
        init_backbones(fresh(), image=tmp_path / "a.pth")
    torch.save(weights | {"odd": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"1 keys have no place.*odd"):
        init_backbones(fresh(), image=tmp_path / "a.pth")
    model = fresh()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save(weights | {"norm.bias": torch.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"is \[3\], the model has \[64\]"):
        init_backbones(model, image=tmp_path / "a.pth")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    model.system.image = torch.nn.Identity()
    with pytest.raises(ConfigError, match="is no Swin"):
        init_backbones(model, image=tmp_path / "a.pth")


def tower(size: int) -> Model:
    image = ViTConfig(width=64, layers=2, heads=1, patch=8, image_size=size)
    return Model(BridgeTower(BridgeTowerConfig(image, TEXT, layers=2, width=12, heads=2, intermediate=20)), {}).eval()


@pytest.mark.parametrize("size", [24, 40])
def test_clip_as_the_image_side(tmp_path, size):
    """OpenAI's file holds a text side and a projection that stay behind; positions stretch to the model's resolution."""
    source, model = tower(24), tower(size)
    randomise(source.system.image)
    official = {}
    for name, tensor in source.system.image.state_dict(prefix="system.image.").items():
        (key,) = invert(name, vit.rules(r"visual\.", "system.image."))
        official[key] = tensor.clone()
    others = {
        "visual.proj": (64, 8),
        "text_projection": (8, 8),
        "transformer.resblocks.0.ln_1.weight": (8,),
        "logit_scale": (),
    }
    save_file(official | {key: torch.zeros(shape) for key, shape in others.items()}, tmp_path / "clip.safetensors")
    fusion = {n: t.clone() for n, t in model.system.state_dict().items() if not n.startswith("image.")}
    report = init_backbones(model, image=tmp_path / "clip.safetensors")
    assert set(report.dropped) == set(others) and len(report.mapped) == len(official)
    for name, tensor in source.system.image.state_dict().items():
        wanted = resize_positions(tensor, (size // 8, size // 8)) if name == "position" else tensor
        assert torch.equal(model.system.image.state_dict()[name], wanted)
    assert all(torch.equal(model.system.state_dict()[name], tensor) for name, tensor in fusion.items())
    assert bool(report.notes) == (size != 24)
