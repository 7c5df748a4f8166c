"""Importing the published detectors: every listed key at full size, strictly; and what the coarse stage hands on."""

import json
from pathlib import Path

import pytest
import torch

from tests.checkpoints.test_fiber_coarse import weightless
from tests.golden.vectors import load, vectors
from tests.micro import micro_model, micro_size
from vlfuse.backbones.swin import SwinConfig
from vlfuse.checkpoints.fiber_coarse import rules as coarse_rules
from vlfuse.checkpoints.fiber_fine import COARSE, STEM, import_fiber_fine
from vlfuse.checkpoints.fiber_fine import rules as fine_rules
from vlfuse.checkpoints.folder import load_folder, save_folder
from vlfuse.checkpoints.importing import import_file
from vlfuse.checkpoints.mapping import Drop, Target, report_text, resolve
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.build import build_on
from vlfuse.engine.run import Run, Source
from vlfuse.systems.fiber import FiberConfig
from vlfuse.types import CheckpointError

LISTINGS = vectors("keys_fiber_fine_*.json")


def keys_of(path: Path) -> dict[str, dict]:
    return {key: {"shape": shape, "dtype": kind} for key, (shape, kind) in json.loads(path.read_text())["keys"].items()}


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    tensors = weightless(keys_of(path))
    for level in range(5):
        half = (64 * 2**level - 1) / 2
        tensors[f"rpn.anchor_generator.cell_anchors.{level}"] = torch.tensor([[-half, -half, half, half]])
    return tensors


@pytest.mark.parametrize("path", LISTINGS)
def test_every_published_key_has_a_place(path):
    listing, tensors = json.loads(path.read_text()), tensors_of(path)
    model, report = import_fiber_fine(tensors)
    swin = SwinConfig(drop_path=0.4, attend_padding=True)
    assert model.system.config == FiberConfig(swin=swin, query_norm=listing["fusion_variant"] == "v3")
    assert model.head("grounding").settings() == {
        "width": 256,
        "blocks": 6,
        "levels": 5,
        "anchor_scale": 8.0,
        "drop_block": 0.3,
        "published": True,
    }
    assert report.mapped.keys() | report.dropped.keys() == tensors.keys() and not report.unknown
    ours = set(report.mapped.values())
    assert ours | report.missing.keys() == model.state_dict().keys() and not ours & report.missing.keys()
    assert all("coarse stage" in reason for reason in report.missing.values())
    never = sum(tensors[key].numel() for key, reason in report.dropped.items() if "never trained" in reason)
    places = {**dict(model.named_parameters())}
    assert sum(places[name].numel() for name in ours) + never == listing["n_parameters"]
    assert "dropped because never trained" in report_text(report)


@pytest.mark.parametrize("path", LISTINGS[:1])
def test_what_does_not_fit_is_refused(path):
    tensors = tensors_of(path)
    with pytest.raises(CheckpointError, match="no place"):
        import_fiber_fine(tensors | {"rpn.head.new.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="centerness.bias"):
        import_fiber_fine({key: t for key, t in tensors.items() if key != "rpn.head.centerness.bias"})
    with pytest.raises(CheckpointError, match="fiber-coarse"):
        import_fiber_fine({"vit_model.patch_embed.proj.weight": torch.zeros(1)})


@pytest.mark.parametrize("path", vectors("fiber_fine_train*.json"))
def test_a_file_becomes_a_folder_that_is_the_same_model(path, tmp_path):
    """Through a training file of several processes, with the stem's channels turned round."""
    golden = load(path)
    state = {f"module.{key}": tensor for key, tensor in golden.get("state/").items()}
    torch.save({"model": state, "iteration": 3}, tmp_path / "model.pth")
    words = Tokenizer.load("scenes")
    words.save(tmp_path / "words")
    heads = golden.meta["config"]["text_heads"]
    if words.vocab_size != golden.meta["config"]["text_vocab"]:
        words = path.with_name("fiber_fine_tokenizer.json")
        (tmp_path / "words" / "tokenizer.json").write_bytes(words.read_bytes())
    report = import_file(tmp_path / "model.pth", "fiber-fine", tmp_path / "out", text_heads=heads, tokenizer=str(tmp_path / "words"))  # fmt: skip
    assert any("BGR" in note for note in report.notes)
    loaded, direct = load_folder(tmp_path / "out").model, import_fiber_fine(golden.get("state/"), heads)[0]
    assert loaded.system.config == direct.system.config
    stem = golden["state/fusion_backbone.backbone.body.patch_embed.proj.weight"]
    assert torch.equal(loaded.state_dict()[STEM], stem.flip(1))
    for key, name in report.mapped.items():
        if name.startswith("heads.grounding.predictor.align."):
            assert torch.equal(loaded.state_dict()[name], golden[f"state/{key.removeprefix('module.')}"])


@pytest.mark.parametrize("path", vectors("fiber_fine_coarse_to_fine_keys*.json"))
def test_the_coarse_stage_hands_on_what_the_published_one_does(path):
    """In both stages' files a key that the published loader carries over has the same place in our one model."""
    for recorded in load(path).meta["maps"].values():
        v3 = recorded["fine_variant"] == "v3"
        fine, coarse = fine_rules(FiberConfig(query_norm=v3)), coarse_rules(FiberConfig())
        carried = recorded["fine_to_coarse"]
        assert len(carried) == recorded["n_mapped"]
        for theirs, source in carried.items():
            found, before = resolve(theirs, fine), resolve(source, coarse)
            if isinstance(found, Drop):  # buffers
                assert isinstance(before, Drop) and found.reason == before.reason, theirs
            else:
                assert found == before and found.name.startswith("system."), theirs
        for new in recorded["newly_initialised_in_fine"]:
            found = resolve(new, fine)
            assert isinstance(found, Drop) or (isinstance(found, Target) and found.name.startswith("heads.grounding."))
        for unused in recorded["unused_coarse_keys"]:
            found = resolve(unused, coarse)
            if isinstance(found, Target) and found.name.startswith("system."):
                part = found.name.removeprefix("system.")
                dropped = part == "temperature" or part.startswith(COARSE) or (not v3 and ".cross.norm." in part)
                assert dropped, f"{unused} would be carried over here, and is not there"


def test_a_coarse_run_folder_is_a_start_for_the_fine_stage(tmp_path):
    """Nothing to convert: the system is the same, its windows too, the head is new; and the fine folder loads again."""
    coarse = micro_model(tmp_path / "coarse", "mlm", "itc", "itm")
    source = Source("scenes:1", {"grounding": 1.0}, batch_size=2)
    settings = {"grounding": {"width": 16, "blocks": 1, "levels": 3, "anchor_scale": 4.0}}
    run = Run("fiber-fine", str(tmp_path / "run"), 1, (source,), init=str(coarse), image_size=96, heads=settings)
    model, tokenizer, given = build_on(run, ["grounding"], {})
    before = load_folder(coarse).model.system.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.system.state_dict().items())
    save_folder(tmp_path / "fine", model, tokenizer, given)
    again = load_folder(tmp_path / "fine").model
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert again.system.config == micro_size().config
