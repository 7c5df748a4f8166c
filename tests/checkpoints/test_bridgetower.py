"""Importing the published checkpoints: every listed key at full size; the map to Hugging Face's names; labels; other sizes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.golden.vectors import folder, vectors
from vlfuse.checkpoints.bridgetower import import_bridgetower, infer_config
from vlfuse.checkpoints.bridgetower_hf import to_huggingface
from vlfuse.checkpoints.folder import load_folder
from vlfuse.checkpoints.importing import import_file
from vlfuse.systems.base import Model
from vlfuse.types import CheckpointError, ConfigError

HEADS = {
    "pretrain_mlm_itm": {"mlm": {"norm_eps": 1e-12}, "itm": {"negatives": "random"}},
    "vqav2": {"vqa": {"scale": 2.0}},
    "vqav2_from_scratch": {"vqa": {}},
    "snlive": {"entailment": {"scale": 2.0, "dropout": 0.0}},
    "nlvr2": {"nlvr2": {"scale": 1.5, "dropout": 0.1}},
    "irtr_itm_itc": {"itc": {}, "itm": {"negatives": "hard"}},
    "irtr_itm_ranking": {"itm": {"negatives": "texts", "false_texts": 15}},
}


def listings() -> list:
    paths = sorted(folder().glob("keys_bridgetower_*_official.json"))
    found = [(path, name) for path in paths for name in json.loads(path.read_text())["variants"]]
    return [pytest.param(*pair, id=f"{pair[0].stem}-{pair[1]}") for pair in found]


def weightless(keys: dict) -> dict[str, Tensor]:
    """Tensors of the listed shapes and kinds that take no memory: one number, seen everywhere."""
    return {
        key: torch.full((), 0.01).to(getattr(torch, entry["dtype"])).expand(entry["shape"])
        for key, entry in keys.items()
    }


def listed(path: Path, variant: str) -> dict:
    content = json.loads(path.read_text())
    return content["common"] | content["variants"][variant]["extra"]


@pytest.mark.parametrize(("path", "variant"), listings())
def test_every_listed_key_has_a_place(path: Path, variant: str):
    given = json.loads(path.read_text())["variants"][variant]
    tensors = weightless(listed(path, variant))
    assert len(tensors) == given["n_keys"]
    model, report = import_bridgetower(tensors)
    assert not report.unknown and set(report.mapped) | set(report.dropped) == set(tensors)
    assert all("pooler" in key or "position_ids" in key or key.startswith("vit_model.") for key in report.dropped)
    config = model.system.config
    assert config.image.image_size == given["settings"]["image_size"]
    assert (config.image.heads, config.text.heads, config.heads) == ((12,) * 3 if "base" in path.stem else (16,) * 3)
    assert (config.layers, config.cross_eps, config.bridge_eps) == (6, 1e-12, 1e-5)
    found = {name: dict(model.head(name).settings()) for name in model.heads}
    if "vqa" in found:
        assert len(found["vqa"].pop("answers")) == 3129
    assert found == HEADS[variant]
    fresh = {name for name in report.missing if "projection" in name}
    assert bool(fresh) == ("itc" not in model.heads)
    used = {name: tensor for name, tensor in tensors.items() if name in report.mapped}
    ours = sum(p.numel() for name, p in model.named_parameters() if name not in report.missing)
    row = config.width if tensors["token_type_embeddings.weight"].shape[0] == 2 else 0  # the second picture's type
    ranked = sum(tensors[name].numel() for name in tensors if name.startswith("rank_output"))
    assert ours == sum(tensor.numel() for tensor in used.values()) + row - ranked


@pytest.mark.parametrize("path", vectors("bridgetower_keymap_*_official_to_hf.json"))
def test_the_way_to_hugging_face_is_the_recorded_one(path: Path):
    """Official tensors that all differ arrive under the mapped names unchanged, apart from the text pooler nobody uses."""
    recorded = json.loads(path.read_text())
    size = "base" if "base" in path.stem else "large"
    keys = listed(path.with_name(f"keys_bridgetower_{size}_official.json"), "pretrain_mlm_itm")
    tensors = weightless(keys)
    for number, key in enumerate(tensors):
        if tensors[key].is_floating_point():
            tensors[key] = torch.tensor(1.0 + number).expand(tensors[key].shape)
    model, report = import_bridgetower(tensors)
    assert set(recorded["dropped_official_keys"]) - {"temperature"} <= set(report.dropped)
    back = to_huggingface(model).tensors
    assert set(back) == set(recorded["map"].values())
    for official, theirs in recorded["map"].items():
        assert back[theirs].shape == tensors[official].shape
        if "text_transformer.pooler" not in official:
            assert float(back[theirs].flatten()[0]) == float(tensors[official].flatten()[0]), official
            assert float(back[theirs].flatten()[-1]) == float(tensors[official].flatten()[-1]), official


# --- small checkpoints ---------------------------------------------------------------------------------------------


def small(**heads: tuple[int, ...]) -> dict[str, Tensor]:
    """Random official tensors of a BridgeTower of width 64, with heads of the shapes given."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "temperature": (),
        "token_type_embeddings.weight": (2, 64),
        "vit_model.positional_embedding": (7, 8),
        "vit_model.ln_final.weight": (8,),
        "vit_model.visual.class_embedding": (64,),
        "vit_model.visual.positional_embedding": (10, 64),
        "vit_model.visual.conv1.weight": (64, 3, 8, 8),
        "text_transformer.embeddings.word_embeddings.weight": (30, 64),
        "text_transformer.embeddings.position_embeddings.weight": (20, 64),
        "text_transformer.embeddings.token_type_embeddings.weight": (1, 64),
        "text_transformer.pooler.dense.weight": (64, 64),
    }

    def linear(name: str, outer: int, inner: int) -> None:
        shapes.update({f"{name}.weight": (outer, inner), f"{name}.bias": (outer,)})

    def norm(name: str) -> None:
        shapes.update({f"{name}.weight": (64,), f"{name}.bias": (64,)})

    for name in ("ln_pre", "ln_post"):
        norm(f"vit_model.visual.{name}")
    norm("text_transformer.embeddings.LayerNorm")
    for layer in range(2):
        block = f"vit_model.visual.transformer.resblocks.{layer}"
        shapes.update({f"{block}.attn.in_proj_weight": (192, 64), f"{block}.attn.in_proj_bias": (192,)})
        linear(f"{block}.attn.out_proj", 64, 64)
        linear(f"{block}.mlp.c_fc", 256, 64)
        linear(f"{block}.mlp.c_proj", 64, 256)
        norm(f"{block}.ln_1")
        norm(f"{block}.ln_2")
        places = {f"text_transformer.encoder.layer.{layer}": ("attention",)}
        places |= {f"cross_modal_{side}_layers.{layer}": ("attention", "crossattention") for side in ("text", "image")}
        for place, attentions in places.items():
            for attention in attentions:
                for part in ("query", "key", "value"):
                    linear(f"{place}.{attention}.self.{part}", 64, 64)
                linear(f"{place}.{attention}.output.dense", 64, 64)
                norm(f"{place}.{attention}.output.LayerNorm")
            linear(f"{place}.intermediate.dense", 96, 64)
            linear(f"{place}.output.dense", 64, 96)
            norm(f"{place}.output.LayerNorm")
    for side in ("text", "image"):
        linear(f"cross_modal_{side}_transform", 64, 64)
        linear(f"cross_modal_{side}_pooler.dense", 64, 64)
        norm(f"cross_modal_{side}_layernorm")
        norm(f"cross_modal_{side}_link_tower.0.LayerNorm")
    shapes.update(heads)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def classifier(name: str, inner: int, hidden: int, outer: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.0.weight": (hidden, inner), f"{name}.0.bias": (hidden,), f"{name}.1.weight": (hidden,), f"{name}.1.bias": (hidden,),
        f"{name}.3.weight": (outer, hidden), f"{name}.3.bias": (outer,),
    }  # fmt: skip


def test_entailment_keeps_its_meaning():
    """There contradiction comes first, here last: the rows of the last layer turn round."""
    tensors = small(**classifier("snli_classifier", 128, 256, 3))
    model, _ = import_bridgetower(tensors)
    last = model.head("entailment").classifier[3]
    assert model.head("entailment").labels == ("entailment", "neutral", "contradiction")
    assert torch.equal(last.weight, tensors["snli_classifier.3.weight"].flip(0))
    assert torch.equal(last.bias, tensors["snli_classifier.3.bias"].flip(0))


def test_the_ranking_head_takes_its_row():
    heads = {
        "itm_score.fc.weight": (2, 128),
        "itm_score.fc.bias": (2,),
        "rank_output.weight": (1, 128),
        "rank_output.bias": (1,),
    }
    tensors = small(**heads)
    model, report = import_bridgetower(tensors)
    row = torch.cat([tensors["itm_score.fc.weight"][:1], tensors["rank_output.weight"]])
    assert torch.equal(model.head("itm").classifier.weight, row)
    assert any("rank_output.weight became the row" in note for note in report.notes)
    del tensors["itm_score.fc.weight"], tensors["itm_score.fc.bias"]
    with pytest.raises(CheckpointError, match="rank_output.weight without itm_score"):
        import_bridgetower(tensors)


def test_the_second_picture_starts_as_the_first():
    tensors = small()
    types = import_bridgetower(tensors)[0].system.token_types.weight
    assert torch.equal(types[2], types[1]) and torch.equal(types[:2], tensors["token_type_embeddings.weight"])
    tensors["token_type_embeddings.weight"] = torch.randn(3, 64)
    types = import_bridgetower(tensors)[0].system.token_types.weight
    assert torch.equal(types, tensors["token_type_embeddings.weight"])


def test_another_resolution_stretches_the_positions():
    model, report = import_bridgetower(small(), resolution=40)
    assert model.system.image.position.shape == (26, 64) and model.system.config.image.image_size == 40
    assert any("24 to 40" in note for note in report.notes)
    with pytest.raises(ConfigError, match="multiple of the patch, 8"):
        import_bridgetower(small(), resolution=41)


def test_the_name_of_managertower_is_understood():
    heads = {f"cross_modal_itc_{side}_head.fc.{part}": shape for side in ("text", "image") for part, shape in (("weight", (32, 64)), ("bias", (32,)))}  # fmt: skip
    model, report = import_bridgetower(small(**heads))
    assert "itc" in model.heads and model.system.config.embed_dim == 32
    assert not any("projection" in name for name in report.missing)


def test_what_does_not_fit_is_named():
    with pytest.raises(CheckpointError, match="no 'vit_model.visual.conv1.weight'"):
        infer_config({"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no place in this model.*surprise"):
        import_bridgetower(small(surprise=(1,)))
    broken = small()
    del broken["cross_modal_text_layers.1.output.dense.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: system.text_layers.1.mlp.fc2.bias"):
        import_bridgetower(broken)
    with pytest.raises(ConfigError, match="no vqa_classifier"):
        import_bridgetower(small(), answers=("yes",))
    with pytest.raises(ConfigError, match="2 answers were given; the classifier has 3"):
        import_bridgetower(small(**classifier("vqa_classifier", 128, 256, 3)), answers=("yes", "no"))


def test_import_from_a_file(tmp_path: Path):
    """A Lightning file becomes a model folder with the published preprocessing."""
    tensors = small(**classifier("vqa_classifier", 128, 256, 2))
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "tower.ckpt")
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    import_file(tmp_path / "tower.ckpt", "bridgetower", tmp_path / "out", answers=tmp_path / "answers.txt")
    loaded = load_folder(tmp_path / "out")
    assert isinstance(loaded.model, Model) and loaded.model.head("vqa").answers == ("yes", "no")
    given = loaded.preprocessing
    assert (given.size, given.crop, given.max_text) == (24, False, 18) and given.mean[0] == pytest.approx(0.48145466)
