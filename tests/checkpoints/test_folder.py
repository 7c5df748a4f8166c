"""A released model: what is saved is what is loaded, or the error says why not."""

import json
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.test_fiber_coarse import CONFIG, tiny
from vlfuse.backbones.swin import SwinConfig
from vlfuse.checkpoints.config import config_from_dict, config_to_dict
from vlfuse.checkpoints.folder import Preprocessing, build_model, describe, load_folder, save_folder
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import FiberConfig
from vlfuse.types import CheckpointError, ConfigError

SHAPES = Preprocessing(size=64, max_text=10, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))


@pytest.fixture
def saved(tmp_path):
    model = tiny("mlm", "itc", "itm", "vqa", "nlvr2")
    return model, save_folder(tmp_path / "m", model, None, SHAPES, card="# Mine\n", notes={"score": 0.5})


def test_round_trip(saved):
    model, folder = saved
    loaded = load_folder(folder)
    assert loaded.model.system.config == CONFIG and loaded.preprocessing == SHAPES and loaded.tokenizer is None
    assert loaded.config.notes == {"score": 0.5} and loaded.config.system == "fiber"
    assert loaded.model.head("vqa").answers == ("yes", "no", "two") and not loaded.model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_half_precision_is_for_matrices_and_loads_as_float32(tmp_path):
    model = tiny("itc")
    folder = save_folder(tmp_path, model, None, SHAPES, dtype="float16")
    stored = load_file(folder / "model.safetensors")
    assert all((tensor.dtype == torch.float16) == (tensor.ndim >= 2) for tensor in stored.values())
    loaded = load_folder(folder).model
    for name, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.ndim >= 2 else tensor
        assert torch.equal(loaded.state_dict()[name], expected), name


def test_integer_buffers_and_the_queue_survive(tmp_path):
    model = build_model(replace(describe(tiny("itc"), SHAPES), heads={"itc": {"queue": 4}}))
    model.head("itc").queue.push(torch.ones(3, 10), torch.ones(3, 10))  # type: ignore[union-attr]
    loaded = load_folder(save_folder(tmp_path, model, None, SHAPES, dtype="float16")).model
    assert loaded.head("itc").queue.filled == 3  # type: ignore[union-attr]


def test_the_tokenizer_travels_along_and_must_fit(tmp_path):
    words = Tokenizer.load("scenes")
    config = replace(CONFIG, text=replace(CONFIG.text, vocab_size=words.vocab_size))
    described = replace(describe(tiny("itc"), SHAPES), config=config_to_dict(config))
    folder = save_folder(tmp_path, build_model(described), words, SHAPES)
    loaded = load_folder(folder).tokenizer
    assert loaded is not None and loaded.ids(["a red circle"], 10) == words.ids(["a red circle"], 10)
    save_folder(tmp_path, tiny("itc"), words, SHAPES)
    with pytest.raises(CheckpointError, match="the model knows 31"):
        load_folder(folder)


def test_weights_that_do_not_fit_are_listed(saved):
    _, folder = saved
    weights = load_file(folder / "model.safetensors")
    del weights["system.image.norm.bias"]
    weights["heads.vqa.classifier.3.bias"] = torch.zeros(7)
    save_file(weights | {"more": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_folder(folder)
    for words in (
        "1 missing: system.image.norm.bias",
        "1 unexpected: more",
        "classifier.3.bias is [7], the model has [3]",
    ):
        assert words in str(error.value)


def change(folder, path, value):
    config = json.loads((folder / "config.json").read_text())
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "path, value, kind, words",
    [
        (["format"], 2, CheckpointError, "format 2; this version reads format 1"),
        (["system"], "fibre", ConfigError, "did you mean 'fiber'"),
        (["config", "swin", "windows"], 3, ConfigError, r"swin\.windows is unknown; did you mean 'window'"),
        (["config", "swin", "depths"], [2, "2"], ConfigError, r"swin\.depths\[1\] is '2'; it must be int"),
        (["config", "fuse_last"], 40, ConfigError, r"1\.\."),
        (["heads", "vqq"], {}, ConfigError, "did you mean 'vqa'"),
        (["heads", "itc", "queu"], 3, ConfigError, "did you mean 'queue'"),
        (["preprocessing", "size"], True, ConfigError, "size is True; it must be int"),
    ],
)
def test_a_wrong_configuration_is_named(saved, path, value, kind, words):
    change(saved[1], path, value)
    with pytest.raises(kind, match=words):
        load_folder(saved[1])


def test_files_that_are_absent_or_broken(saved):
    _, folder = saved
    (folder / "model.safetensors").write_bytes(b"1234")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_folder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="no JSON"):
        load_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_folder(folder)


def test_what_cannot_be_stored_is_refused_and_the_old_files_stay(saved):
    model, folder = saved
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.system.image_transform.weight[0, 0] = 1e6
        with pytest.raises(CheckpointError, match="beyond float16"):
            save_folder(folder, model, None, SHAPES, dtype="float16")
        model.system.image_transform.weight[0, 0] = float("nan")
        with pytest.raises(CheckpointError, match="not finite"):
            save_folder(folder, model, None, SHAPES)
    assert (folder / "model.safetensors").read_bytes() == before
    other = Model(model.system, {"matching": model.head("itm")})
    with pytest.raises(ConfigError, match="head 'matching'"):
        save_folder(folder, other, None, SHAPES)


@dataclass(frozen=True)
class Sample:
    swin: SwinConfig
    rate: float = 0.5
    size: int | None = None
    mode: Literal["a", "b"] = "a"
    pair: tuple[int, str] = (1, "x")


def test_configurations_of_any_dataclass():
    for value in (Sample(SwinConfig(depths=(1, 1), heads=(1, 1))), Sample(SwinConfig(), 1.0, 3, "b", (2, "y"))):
        assert config_from_dict(Sample, json.loads(json.dumps(config_to_dict(value)))) == value
    assert config_from_dict(FiberConfig, {}) == FiberConfig()
    assert config_from_dict(Sample, {"swin": {}, "rate": 2}).rate == 2.0
    for wrong, words in (
        ({}, "lacks swin"),
        ({"swin": {}, "mode": "c"}, "mode is 'c'"),
        ({"swin": {}, "size": "3"}, "it must be int; or"),
        ({"swin": {}, "pair": [1]}, "pair is"),
        ({"swin": 3}, "swin is 3"),
    ):
        with pytest.raises(ConfigError, match=words):
            config_from_dict(Sample, wrong)
