"""Hugging Face's layout, with `transformers` itself as the oracle: its folders in, ours out, random small configurations."""

import json
import random
from pathlib import Path

import pytest
import torch

import vlfuse
from tests.golden.vectors import folder
from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig
from vlfuse.checkpoints import hub
from vlfuse.checkpoints.bridgetower_hf import (
    export_huggingface,
    import_huggingface,
    load_huggingface,
    read_huggingface_config,
    to_huggingface,
)
from vlfuse.checkpoints.folder import Preprocessing, load_folder, save_folder
from vlfuse.checkpoints.hub import load_model, model_config
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Model
from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig
from vlfuse.tasks import TASKS
from vlfuse.types import CheckpointError, Images, Tokens

transformers = pytest.importorskip("transformers")
CLASSES = {
    "BridgeTowerModel": (),
    "BridgeTowerForMaskedLM": ("mlm",),
    "BridgeTowerForImageAndTextRetrieval": ("itm",),
    "BridgeTowerForContrastiveLearning": ("itc",),
}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def their_config(seed: int, **changes):
    """A random small configuration of theirs; every size differs where theirs may."""
    pick = random.Random(seed)
    depth, heads, patch = pick.randint(2, 4), pick.choice([2, 4]), pick.choice([4, 8])
    width = 64 * pick.randint(1, 2)
    text = {
        "vocab_size": pick.randint(40, 90), "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads,
        "intermediate_size": pick.randint(50, 90), "max_position_embeddings": 24, "layer_norm_eps": pick.choice([1e-5, 1e-6]),
    }  # fmt: skip
    vision = {
        "hidden_size": width if changes.pop("contrastive", False) else 64 * pick.randint(1, 2), "num_hidden_layers": depth,
        "patch_size": patch, "image_size": patch * pick.randint(2, 4), "layer_norm_eps": pick.choice([1e-5, 1e-6]),
    }  # fmt: skip
    given = {
        "hidden_size": width, "num_hidden_layers": pick.randint(1, depth), "link_tower_type": pick.choice(["add", "scaled_add", "interpolate"]),
        "contrastive_hidden_size": 24, "logit_scale_init_value": 2.6592, "layer_norm_eps": pick.choice([1e-5, 1e-6]), "attn_implementation": "eager",
    }  # fmt: skip
    return transformers.BridgeTowerConfig(text_config=text, vision_config=vision, **(given | changes))


def theirs_of(name: str, seed: int, **changes) -> torch.nn.Module:
    torch.manual_seed(seed)
    config = their_config(seed, contrastive=name == "BridgeTowerForContrastiveLearning", **changes)
    model = getattr(transformers, name)(config).eval()
    for parameter in model.parameters():  # zeros and ones as they start would hide mistakes
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


def inputs_of(config, seed: int, count: int = 3) -> tuple[Images, Tokens]:
    generator = torch.Generator().manual_seed(seed)
    side, length = config.vision_config.image_size, 9
    pixels = torch.randn(count, 3, side, side, generator=generator)
    mask = torch.arange(length)[None] < torch.tensor([[9], [4], [6]])[:count]
    ids = torch.randint(3, config.text_config.vocab_size, (count, length), generator=generator)
    return Images(pixels, torch.full((count, 2), side)), Tokens(torch.where(mask, ids, 1), mask)


def run(model: torch.nn.Module, images: Images, text: Tokens, **more):
    with torch.no_grad():
        return model(input_ids=text.ids, attention_mask=text.mask.long(), pixel_values=images.pixels, **more)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CLASSES)
@torch.no_grad()
def test_their_folders_are_read(name: str, seed: int, tmp_path: Path):
    """Outputs, logits and embeddings of every class, from a folder that `save_pretrained` wrote."""
    theirs = theirs_of(name, seed)
    theirs.save_pretrained(tmp_path)
    loaded = load_huggingface(tmp_path)
    model, system = loaded.model, loaded.model.system
    assert set(CLASSES[name]) == set(model.heads)
    images, text = inputs_of(theirs.config, seed)
    image_state, text_state = system.encode_image(images), system.encode_text(text)
    fused = system.fuse(image_state, text_state)
    base = run(theirs if name == "BridgeTowerModel" else theirs.bridgetower, images, text)
    torch.testing.assert_close(fused.text, base.text_features, **CLOSE)
    torch.testing.assert_close(fused.image, base.image_features, **CLOSE)
    torch.testing.assert_close(fused.pooled, base.pooler_output, **CLOSE)
    torch.testing.assert_close(system.pooled(image_state, text_state), base.pooler_output, **CLOSE)
    if name == "BridgeTowerForMaskedLM":
        torch.testing.assert_close(model.head("mlm").logits(fused.text), run(theirs, images, text).logits, **CLOSE)
    if name == "BridgeTowerForImageAndTextRetrieval":
        torch.testing.assert_close(
            model.head("itm").classifier(fused.pooled), run(theirs, images, text).logits, **CLOSE
        )
    if name == "BridgeTowerForContrastiveLearning":
        embeddings = run(theirs, images, text).logits.unbind(-2)
        found = system.project_text(text_state), system.project_image(image_state), system.project_pair(fused.pooled)
        for ours, expected in zip(found, embeddings, strict=True):
            torch.testing.assert_close(ours, expected, **CLOSE)
        torch.testing.assert_close(1 / system.temperature, theirs.logit_scale.exp(), **CLOSE)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seed", range(2))
def test_round_trip(name: str, seed: int, tmp_path: Path):
    """Theirs -> ours -> our folder -> ours -> their folder -> `from_pretrained`: the same tensors, the same outputs."""
    theirs = theirs_of(name, seed)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_huggingface(tmp_path / "theirs")
    save_folder(tmp_path / "ours", loaded.model, None, loaded.preprocessing)
    model = load_folder(tmp_path / "ours").model
    notes = export_huggingface(model, tmp_path / "back", preprocessing=loaded.preprocessing)
    again = getattr(transformers, name).from_pretrained(tmp_path / "back", attn_implementation="eager").eval()
    for key, tensor in theirs.state_dict().items():
        if "text_model.pooler" not in key:  # never used
            torch.testing.assert_close(again.state_dict()[key], tensor, atol=1e-6, rtol=1e-6, msg=key)
    assert not any("eps" in note for note in notes)
    images, text = inputs_of(theirs.config, seed)
    before, after = run(theirs, images, text), run(again, images, text)
    for key in before:
        if torch.is_tensor(before[key]):
            torch.testing.assert_close(after[key], before[key], **CLOSE)


def ours(seed: int = 0, **changes) -> Model:
    torch.manual_seed(seed)
    text = TextConfig(60, 64, 3, 2, 80, positions=24)
    given = {
        "image": ViTConfig(64, 3, 1, 8, 24),
        "text": text,
        "layers": 2,
        "width": 64,
        "heads": 2,
        "intermediate": 80,
    }
    system = BridgeTower(BridgeTowerConfig(**(given | {"embed_dim": 16, "cross_eps": 1e-5} | changes)))
    heads = {"mlm": OBJECTIVES["mlm"](system, norm_eps=1e-5), "itm": OBJECTIVES["itm"](system)}
    model = Model(system, heads)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def test_what_we_trained_is_loaded_by_transformers(tmp_path: Path):
    """One folder serves `BridgeTowerModel` and the class of each head; at another resolution, too."""
    model = ours()
    export_huggingface(model, tmp_path, preprocessing=Preprocessing(24, 10, crop=True))
    base = transformers.BridgeTowerModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    mlm = transformers.BridgeTowerForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    itm = transformers.BridgeTowerForImageAndTextRetrieval.from_pretrained(tmp_path, attn_implementation="eager").eval()
    images, text = inputs_of(base.config, 0)
    wide = Images(torch.randn(3, 3, 32, 40), torch.tensor([32, 40]).expand(3, 2))
    for pictures, stretch in ((images, False), (wide, True)):
        fused = model.system.fuse(model.system.encode_image(pictures), model.system.encode_text(text))
        found = run(base, pictures, text, interpolate_pos_encoding=stretch)
        torch.testing.assert_close(fused.pooled, found.pooler_output, **CLOSE)
        torch.testing.assert_close(fused.image, found.image_features, **CLOSE)
    fused = model.system.fuse(model.system.encode_image(images), model.system.encode_text(text))
    torch.testing.assert_close(model.head("mlm").logits(fused.text), run(mlm, images, text).logits, **CLOSE)
    torch.testing.assert_close(model.head("itm").classifier(fused.pooled), run(itm, images, text).logits, **CLOSE)
    processor = transformers.BridgeTowerImageProcessor.from_pretrained(tmp_path)
    assert processor.size["shortest_edge"] == 24 and processor.size_divisor == 8


def test_another_eps_is_told():
    assert "eps 1e-12 here and 1e-05 there" in to_huggingface(ours(cross_eps=1e-12)).notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bridge": "gated"}, "bridge 'gated'"),
        ({"bridge": "none"}, "bridge 'none'"),
        ({"intermediate": 60}, "cross-modal layers of other width"),
        ({"image": ViTConfig(64, 3, 2, 8, 24)}, "2 heads at an image width of 64"),
    ],
)
def test_what_has_no_place_there_is_named(changes, message):
    with pytest.raises(CheckpointError, match=message):
        to_huggingface(ours(**changes))


def test_heads_without_a_class_there_are_named():
    model = ours()
    model.heads["vqa"] = TASKS["vqa"](model.system, ("yes", "no"))
    with pytest.raises(CheckpointError, match="heads vqa"):
        to_huggingface(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share_cross_modal_transformer_layers": False}, "share_cross_modal_transformer_layers = False; only True"),
        ({"share_link_tower_layers": True}, "share_link_tower_layers"),
        ({"link_tower_type": "sum"}, "link_tower_type is 'sum'; allowed: add"),
        ({"model_type": "bert"}, "model_type is 'bert'"),
        ({"vision_config": {"share_layernorm": False}}, "share_layernorm"),
        ({"text_config": {"hidden_dropout_prob": 0.0}}, "differ"),
    ],
)
def test_what_cannot_be_read_is_named(changes, message):
    with pytest.raises(CheckpointError, match=message):
        read_huggingface_config(changes)


def test_a_tied_decoder_becomes_its_own(tmp_path: Path):
    theirs = theirs_of("BridgeTowerForMaskedLM", 0, tie_word_embeddings=True)
    theirs.save_pretrained(tmp_path)
    model = load_huggingface(tmp_path).model
    images, text = inputs_of(theirs.config, 0)
    with torch.no_grad():
        fused = model.system.fuse(model.system.encode_image(images), model.system.encode_text(text))
        torch.testing.assert_close(model.head("mlm").logits(fused.text), run(theirs, images, text).logits, **CLOSE)


def test_load_by_name(tmp_path: Path):
    """`vlfuse.load` reads a folder in their layout like its own; a hub id leads to such a folder."""
    words = Tokenizer.load("scenes")
    text = {"vocab_size": words.vocab_size, "num_hidden_layers": 2, "max_position_embeddings": 30}
    theirs = transformers.BridgeTowerForImageAndTextRetrieval(their_config(0, num_hidden_layers=2))
    config = theirs.config
    config.text_config.vocab_size, config.text_config.max_position_embeddings = text["vocab_size"], 30
    theirs = transformers.BridgeTowerForImageAndTextRetrieval(config)
    theirs.save_pretrained(tmp_path)
    words.save(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5] * 3})
    )
    predictor = vlfuse.load(str(tmp_path))
    pictures = [torch.rand(3, 40, 60), torch.rand(3, 60, 40)]
    assert predictor.match(pictures, ["a red circle", "two squares"], how="fused").shape == (2, 2)
    given = load_model(tmp_path).preprocessing
    assert given.crop and given.mean == (0.5, 0.5, 0.5) and given.size == config.vision_config.image_size
    assert model_config(tmp_path).system == "bridgetower" and "itm" in model_config(tmp_path).heads


@pytest.mark.parametrize("pickled", [False, True])
def test_a_hub_id_leads_to_such_a_folder(tmp_path: Path, monkeypatch, pickled: bool):
    """What the hub holds is fetched by name, pickled weights only where there are no others."""
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    theirs = theirs_of("BridgeTowerModel", 1)
    theirs.save_pretrained(tmp_path)
    if pickled:
        (tmp_path / "model.safetensors").unlink()
        torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    model = load_model("BridgeTower/bridgetower-base").model
    assert {name for name, _ in asked} == {"BridgeTower/bridgetower-base"} and len(asked) == 1 + pickled
    assert torch.equal(model.system.text_norm.weight, theirs.cross_modal_text_layernorm.weight)


# --- every listed key, at full size --------------------------------------------------------------------------------


def listings() -> list:
    paths = sorted(folder().glob("keys_bridgetower_*_hf.json"))
    found = [(path, name) for path in paths for name in json.loads(path.read_text())["classes"]]
    return [pytest.param(*pair, id=f"{pair[0].stem}-{pair[1]}") for pair in found]


@pytest.mark.parametrize(("path", "name"), listings())
def test_every_listed_key_has_a_place(path: Path, name: str):
    classes = json.loads(path.read_text())["classes"]
    keys = classes["BridgeTowerModel"]["keys"]
    if name != "BridgeTowerModel":
        keys = {f"bridgetower.{key}": entry for key, entry in keys.items()} | classes[name]["extra"]
    tensors = {key: torch.full((), 0.01).expand(entry["shape"]) for key, entry in keys.items()}
    width = tensors[next(key for key in tensors if key.endswith("cross_modal_text_transform.weight"))].shape[0]
    vision = {key: entry for key, entry in tensors.items() if "vision_model" in key}
    table = next(t for key, t in vision.items() if key.endswith("position_embedding.weight"))
    patch = next(t for key, t in vision.items() if key.endswith("patch_embedding.weight")).shape[-1]
    layers = 24 if width == 1024 else 12
    contrastive = next((t for key, t in tensors.items() if key.startswith("itc_text_head.fc.weight")), None)
    described = {
        "hidden_size": width,
        "contrastive_hidden_size": 512 if contrastive is None else contrastive.shape[0],
        "text_config": {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 64, "intermediate_size": 4 * width},
        "vision_config": {"hidden_size": width, "num_hidden_layers": layers, "patch_size": patch, "image_size": patch * round((len(table) - 1) ** 0.5)},
    }  # fmt: skip
    model, report = import_huggingface(tensors, described)
    assert not report.unknown and set(report.mapped) | set(report.dropped) == set(tensors)
    assert all("pooler" in key or "position_ids" in key for key in report.dropped)
    assert set(model.heads) == set(CLASSES[name])
    back = to_huggingface(model)
    prefix = "" if name != "BridgeTowerModel" else "bridgetower."
    assert sum(t.numel() for t in back.tensors.values()) == classes[name]["n_parameters"]
    assert {prefix + key: list(t.shape) for key, t in tensors.items()} == {
        k: list(t.shape) for k, t in back.tensors.items()
    }
