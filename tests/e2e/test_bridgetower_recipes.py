"""BridgeTower by its recipes: published numbers, a short run on scenes, fine-tuning from it, use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlfuse as package
from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig
from vlfuse.checkpoints.config import config_from_dict, config_to_dict
from vlfuse.checkpoints.folder import (
    CLIP_MEAN,
    ModelConfig,
    Preprocessing,
    build_model,
    load_folder,
    read_config,
    save_folder,
)
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.run import Evaluation, Run
from vlfuse.recipes import RECIPES, finetune
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.bridgetower import SIZES, bridgetower_size
from vlfuse.recipes.execute import execute
from vlfuse.recipes.scenes import scenes
from vlfuse.systems.bridgetower import BridgeTowerConfig
from vlfuse.types import ConfigError


@pytest.fixture
def words(monkeypatch):
    """The tokenizers of the published sizes are on the hub; which they are does not matter here."""
    shipped = Tokenizer.load("scenes")
    monkeypatch.setattr(Tokenizer, "load", classmethod(lambda kind, name: shipped))


def test_pretraining_is_as_published(words):
    """Source: the published scripts."""
    for name, side in (("base", 288), ("large", 294)):
        run = RECIPES["bridgetower"](Asked(data="x.jsonl", size=name))
        assert (run.steps, run.sources[0].batch_size, run.image_size, run.max_text, run.crop) == (
            100_000,
            4096,
            side,
            50,
            True,
        )
        assert (run.optim.lr, run.optim.head_multiplier, run.optim.cross_multiplier, run.optim.warmup) == (
            1e-5,
            5,
            5,
            0.1,
        )
        assert run.sources[0].heads == {"mlm": 1.0, "itm": 1.0} and run.heads == {"itm": {"negatives": "random"}}
        assert run.mean == CLIP_MEAN and config_from_dict(BridgeTowerConfig, run.config) == SIZES[name]().config
    with pytest.raises(ConfigError, match="size 'tiny' is unknown"):
        bridgetower_size("tiny")
    with pytest.raises(ConfigError, match="no data of its own"):
        RECIPES["bridgetower"](Asked(size="base"))


@pytest.mark.parametrize(
    ("task", "kind", "side", "lr", "head", "warmup", "decay", "augment", "settings"),
    [
        ("vqa", "single", 576, 1e-5, 50, 0.06, 0.05, "randaugment-mild", {"vqa": {"scale": 2.0}}),
        ("nlvr2", "pairs", 384, 5e-6, 10, 0.1, 0.008, "randaugment-pil", {"nlvr2": {"scale": 1.5, "dropout": 0.1}}),
        ("retrieval", "single", 384, 5e-6, 5, 0.05, 0.01, "randaugment-pil", {"itm": {"negatives": "hard"}}),
    ],
)
def test_fine_tuning_is_as_published(monkeypatch, words, data, task, kind, side, lr, head, warmup, decay, augment, settings):  # fmt: skip
    base = ModelConfig("bridgetower", config_to_dict(BridgeTowerConfig()), {}, Preprocessing(288, 50))
    monkeypatch.setattr(finetune, "model_config", lambda name: base)
    run = RECIPES[task](Asked(data=str(data / kind / "data.jsonl"), size="base", init="tower"))
    assert (run.image_size, run.optim.lr, run.optim.head_multiplier) == (side, lr, head)
    assert (run.optim.warmup, run.optim.weight_decay, run.sources[0].augment) == (warmup, decay, augment)
    assert run.heads == settings and run.crop is False
    large = replace(base, config=config_to_dict(SIZES["large"]().config))
    monkeypatch.setattr(finetune, "model_config", lambda name: large)
    run = RECIPES[task](Asked(data=str(data / kind / "data.jsonl"), size="base", init="tower"))
    assert (run.image_size, run.optim.lr) == ((574, 4e-6) if task == "vqa" else (378, lr))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Two steps of `bridgetower-nano`, made smaller still: every head it trains."""
    out = tmp_path_factory.mktemp("tower")
    run = RECIPES["bridgetower-nano"](out=str(out), steps=2)
    config = run.config | {"width": 16, "intermediate": 32, "embed_dim": 16}
    config["image"] = config["image"] | {"width": 16, "layers": 3, "heads": 2}
    config["text"] = config["text"] | {"width": 16, "layers": 3, "heads": 2, "intermediate": 32}
    sources = tuple(replace(source, every=1, first=0, last=0, batch_size=4) for source in run.sources)
    held_out = Evaluation("retrieval", scenes(8, size=64, split="test", captions=1, fields="captions"))
    run = replace(run, config=config, sources=sources, evaluations=(held_out,))
    return execute(config_from_dict(Run, config_to_dict(run)))


def test_a_run_makes_a_model_for_everything(small):
    predictor = package.load(str(small))
    image = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    assert predictor.ask(image, "what colour is it?").text
    assert predictor.reason([image, image], "both are red").text in ("true", "false")
    assert predictor.entails(image, "it is red").text in ("entailment", "neutral", "contradiction")
    assert predictor.match([image, image], ["red", "blue"]).shape == (2, 2)
    assert predictor.embed_image(image).shape == (16,)


def test_fine_tuning_goes_on_from_it(small, tmp_path):
    """At another picture size the positions stretch, and the trained head is kept."""
    run = RECIPES["vqa"](Asked(init=str(small), out=str(tmp_path), steps=1))
    source = replace(run.sources[0], batch_size=4)
    folder = execute(replace(run, sources=(source,), image_size=80))
    assert read_config(folder).config["image"]["image_size"] == 80
    assert load_folder(folder).model.system.image.position.shape == (101, 16)


def test_bridges_can_be_left_out():
    assert RECIPES["bridgetower-nano"](bridge="none").config["bridge"] == "none"
    fiber, tower = RECIPES["fiber-nano"](), RECIPES["bridgetower-nano"]()
    assert (tower.sources, tower.optim, tower.steps, tower.evaluations) == (
        fiber.sources,
        fiber.optim,
        fiber.steps,
        fiber.evaluations,
    )


def test_export_from_the_command_line(vlfuse, tmp_path):
    """A model with a head that has no place there is refused; without it, transformers loads the folder."""
    transformers = pytest.importorskip("transformers")
    given = Preprocessing(24, 20, crop=True)
    text = TextConfig(Tokenizer.load("scenes").vocab_size, 64, 2, 2, 80, positions=30)
    config = BridgeTowerConfig(ViTConfig(64, 2, 1, 8, 24), text, layers=2, width=64, heads=2, intermediate=80)
    for heads, code in (({"itm": {}}, 0), ({"nlvr2": {}}, 2)):
        model = build_model(ModelConfig("bridgetower", config_to_dict(config), heads, given))
        save_folder(tmp_path / "ours", model, Tokenizer.load("scenes"), given)
        found, out, err = vlfuse("export", "ours", "--out", "theirs")
        assert found == code, err
    assert "no place for heads nlvr2" in err
    loaded = transformers.BridgeTowerForImageAndTextRetrieval.from_pretrained(tmp_path / "theirs")
    assert loaded.config.link_tower_type == "add" and (tmp_path / "theirs" / "tokenizer.json").is_file()
    code, out, err = vlfuse("models", "theirs")
    assert code == 0 and "bridgetower" in out and "itm" in out, err


def test_a_new_tower_from_the_command_line(vlfuse, tmp_path):
    code, _, err = vlfuse("new", "--system", "bridgetower", "--size", "nano", "--out", "start")
    assert code == 0, err
    assert read_config(tmp_path / "start").system == "bridgetower"
    code, _, err = vlfuse("new", "--system", "bridgetower", "--size", "tiny", "--out", "other")
    assert code == 2 and "BridgeTower's size 'tiny' is unknown" in err
