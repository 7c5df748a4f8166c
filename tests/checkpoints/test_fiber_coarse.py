"""Importing the published coarse-stage checkpoints: every listed key at full size, and back again."""

import json

import pytest
import torch
from torch import Tensor

from tests.golden.vectors import folder
from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints.fiber_coarse import import_fiber_coarse, infer_config, resolution_of, to_fiber_coarse
from vlfuse.checkpoints.mapping import report_text
from vlfuse.checkpoints.safe import read_tensors
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.tasks import TASKS
from vlfuse.types import CheckpointError, ConfigError

HEADS = {
    "pretrain_384": {"mlm", "itc", "itm"},
    "vqa_576": {"vqa"},
    "nlvr2_384": {"nlvr2"},
    "caption_mle_576": {"caption"},
    "itc_576": {"itc"},
    "itm_384": {"itm"},
}
CONTRASTIVE = {"pretrain_384", "itc_576"}


def listed(variant: str) -> dict:
    for path in sorted(folder().glob("keys_fiber_coarse_*.json")):
        variants = json.loads(path.read_text())["variants"]
        if variant in variants:
            return variants[variant]
    pytest.skip(f"no listing of {variant} in {folder()}")


def weightless(keys: dict) -> dict[str, Tensor]:
    """Tensors of the listed shapes and kinds that take no memory: one number, seen everywhere."""
    return {
        key: torch.full((), 0.01).to(getattr(torch, entry["dtype"])).expand(entry["shape"])
        for key, entry in keys.items()
    }


def expected(variant: str, size: int) -> Model:
    """The published sizes, written down here and not inferred."""
    with torch.device("meta"):
        system = Fiber(FiberConfig(swin=SwinConfig(window=size // 32)))
        heads = {name: OBJECTIVES[name](system) for name in HEADS[variant] if name in OBJECTIVES}
        if "vqa" in HEADS[variant]:
            heads["vqa"] = TASKS["vqa"](system, tuple(str(i) for i in range(3129)))
        if "nlvr2" in HEADS[variant]:
            heads["nlvr2"] = TASKS["nlvr2"](system)
        if "caption" in HEADS[variant]:
            heads["caption"] = TASKS["caption"](system, never=[50264])
        return Model(system, heads)


@pytest.mark.parametrize("variant", HEADS)
def test_every_published_key_has_a_place(variant):
    listing = listed(variant)
    model, report = import_fiber_coarse(weightless(listing["keys"]))
    ours = expected(variant, listing["image_size"])
    assert model.system.config == ours.system.config == FiberConfig(swin=SwinConfig(window=listing["image_size"] // 32))
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in ours.state_dict().items()}
    assert set(model.heads) == HEADS[variant]
    assert report.mapped.keys() | report.dropped.keys() == listing["keys"].keys()
    assert not report.mapped.keys() & report.dropped.keys() and not report.unknown
    assert set(report.missing) == (set() if variant in CONTRASTIVE else {"system.temperature"})
    assert set(report.mapped.values()) | set(report.missing) == model.state_dict().keys()
    assert resolution_of(model.system.config) == listing["image_size"]
    text = report_text(report)
    assert f"{len(report.mapped)} mapped" in text and "dropped because computed from the grid when needed" in text


def test_the_copy_of_gold_training_is_dropped():
    tensors = weightless(listed("caption_mle_576")["keys"])
    report = import_fiber_coarse(tensors | {f"copy_module.{key}": tensor for key, tensor in tensors.items()})[1]
    assert all("GOLD" in report.dropped[f"copy_module.{key}"] for key in tensors)


def test_a_lightning_file_at_full_size(tmp_path):
    """Written as training writes it, read back through the safe reader."""
    keys = dict(listed("nlvr2_384")["keys"])
    state = {
        key: (
            torch.full(entry["shape"], 0.01)
            if entry["dtype"] == "float32"
            else torch.zeros(entry["shape"], dtype=torch.long)
        )
        for key, entry in keys.items()
        if not key.endswith(("attn_mask", "word_embeddings.weight"))
    }
    words = keys["text_transformer.embeddings.word_embeddings.weight"]["shape"]
    state["text_transformer.embeddings.word_embeddings.weight"] = (
        torch.arange(words[0]).float()[:, None].expand(words).contiguous()
    )
    path = tmp_path / "nlvr2.ckpt"
    torch.save({"epoch": 3, "global_step": 7, "pytorch-lightning_version": "1.3.2", "state_dict": state}, path)
    del state
    model, report = import_fiber_coarse(read_tensors(path))
    assert len(report.mapped) + len(report.dropped) == len(keys) - sum(key.endswith("attn_mask") for key in keys)
    assert model.system.text.embeddings.word.weight[[0, 77, 50264], 5].tolist() == [0, 77, 50264]
    query = model.get_parameter("system.text.layers.11.attention.qkv.weight")
    assert query.shape == (3 * 768, 768) and bool((query == 0.01).all())


def test_another_resolution_resizes_the_tables():
    model, report = import_fiber_coarse(weightless(listed("nlvr2_384")["keys"]), resolution=576)
    assert model.system.config.swin.window == 18
    assert model.get_parameter("system.image.stages.3.blocks.1.attention.bias_table").shape == (35**2, 32)
    assert any("window 12 to 18" in note for note in report.notes)
    with pytest.raises(ConfigError, match="multiple of 32"):
        import_fiber_coarse(weightless(listed("nlvr2_384")["keys"]), resolution=400)


# --- at the smallest size: values, failures and the way back ------------------------------------------------------


CONFIG = FiberConfig(
    swin=SwinConfig(embed_dim=8, depths=(2, 2, 3, 2), heads=(1, 2, 2, 4), window=2),
    text=TextConfig(vocab_size=31, width=12, layers=4, heads=3, intermediate=20, positions=12),
    fuse_last=3,
    width=10,
)


def tiny(*heads: str) -> Model:
    torch.manual_seed(0)
    system = Fiber(CONFIG)
    made = {name: OBJECTIVES[name](system) for name in heads if name in OBJECTIVES}
    made |= {"vqa": TASKS["vqa"](system, ("yes", "no", "two"))} if "vqa" in heads else {}
    made |= {"nlvr2": TASKS["nlvr2"](system)} if "nlvr2" in heads else {}
    model = Model(system, made)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_out_and_in_again_is_the_same_model():
    model = tiny("mlm", "itc", "itm", "vqa", "nlvr2")
    official = to_fiber_coarse(model)
    assert official["text_transformer.encoder.layer.3.crossattention_t2i.self.value.weight"].shape == (12, 64)
    assert "cross_modal_image_transform_itc.weight" in official and "mlm_score.bias" in official
    again, report = import_fiber_coarse(official, answers=("yes", "no", "two"), text_heads=3)
    assert again.system.config == CONFIG and not report.dropped and not report.missing and not report.notes
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert again.head("vqa").answers == ("yes", "no", "two")


def test_a_captioner_goes_out_and_in_again():
    """Projections for the layers that were fused below the top; the words belong to captions then, and to nothing else."""
    torch.manual_seed(0)
    system = Fiber(CONFIG)
    model = Model(system, {"itc": OBJECTIVES["itc"](system), "caption": TASKS["caption"](system, never=[30])})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    official = to_fiber_coarse(model)
    assert {key for key in official if "att_layers" in key} == {
        f"cross_modal_att_layers.1.{p}" for p in ("weight", "bias")
    }
    assert official["cross_modal_att_layers.1.weight"].shape == (32, 64) and "mlm_score.bias" in official
    unused = {"cross_modal_att_layers.0.weight": torch.zeros(32, 64)}
    again, report = import_fiber_coarse(official | unused, text_heads=3)
    assert "never used" in report.dropped["cross_modal_att_layers.0.weight"]
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert again.head("caption").settings() == {**model.head("caption").settings(), "published_search": True}
    assert any("searched for as the released code does" in note for note in report.notes)
    both = Model(system, {"mlm": OBJECTIVES["mlm"](system), "caption": TASKS["caption"](system)})
    with pytest.raises(CheckpointError, match=r"no place for heads\.mlm"):
        to_fiber_coarse(both)


def test_half_precision_becomes_float32():
    official = {key: tensor.half() for key, tensor in to_fiber_coarse(tiny("itc")).items()}
    model, _ = import_fiber_coarse(official, text_heads=3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_failures_name_the_keys():
    official = to_fiber_coarse(tiny("itc", "vqa"))
    with pytest.raises(CheckpointError, match=r"1 keys have no place.*vit_model\.extra"):
        import_fiber_coarse(official | {"vit_model.extra": torch.zeros(1)}, text_heads=3)
    gone = dict(official)
    del gone["vit_model.layers.1.blocks.0.norm1.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: system\.image\.stages\.1\.blocks\.0\.norm1\.bias"):
        import_fiber_coarse(gone, text_heads=3)
    gone = dict(official)
    del gone["text_transformer.encoder.layer.0.attention.self.key.bias"]
    with pytest.raises(CheckpointError, match=r"attention\.self\.query\.bias"):
        import_fiber_coarse(gone, text_heads=3)
    with pytest.raises(CheckpointError, match=r"vqa_classifier|heads\.vqa"):
        import_fiber_coarse(official | {"vqa_classifier.0.weight": torch.zeros(3, 3)}, text_heads=3)
    with pytest.raises(CheckpointError, match="no checkpoint of FIBER"):
        import_fiber_coarse({"weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match="attention heads"):
        infer_config(official)
    with pytest.raises(ConfigError, match="2 answers were given; the classifier has 3"):
        import_fiber_coarse(official, answers=("yes", "no"), text_heads=3)


def test_without_the_contrastive_loss_its_parts_start_anew():
    official = {k: v for k, v in to_fiber_coarse(tiny("itm")).items() if k != "temp" and "_itc" not in k}
    model, report = import_fiber_coarse(official, text_heads=3)
    assert "itc" not in model.heads and model.head("itm").settings() == {"negatives": "random"}
    assert len(report.missing) == 9 and all(
        "without the contrastive loss" in reason for reason in report.missing.values()
    )
    assert all(bool(p.isfinite().all()) and not p.is_meta for p in model.parameters())


def test_a_stale_rank_output_is_ignored_and_noted():
    official = to_fiber_coarse(tiny("itm"))
    row = {f"rank_output.{part}": official[f"itm_score.fc.{part}"][1:].clone() for part in ("weight", "bias")}
    assert not import_fiber_coarse(official | row, text_heads=3)[1].notes
    row["rank_output.weight"] += 1
    model, report = import_fiber_coarse(official | row, text_heads=3)
    assert any("went stale" in note for note in report.notes)
    assert torch.equal(model.get_parameter("heads.itm.classifier.weight"), official["itm_score.fc.weight"])


def test_a_head_without_official_name_is_not_lost_silently():
    system = Fiber(CONFIG)
    with pytest.raises(CheckpointError, match=r"heads\.nlvr\."):
        to_fiber_coarse(Model(system, {"nlvr": TASKS["nlvr"](system)}))
