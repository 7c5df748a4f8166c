"""What recipes say of themselves: published numbers at base size, steps from epochs, data that cannot be used."""

import json

import pytest

from vlfuse.data.tokenizer import Tokenizer
from vlfuse.recipes import RECIPES
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.sizes import SIZES, size_like, size_of
from vlfuse.systems.fiber import FiberConfig
from vlfuse.types import ConfigError, DataError


@pytest.fixture
def words(monkeypatch):
    """The base size's tokenizer is on the hub; which one it is does not matter here."""
    scenes = Tokenizer.load("scenes")
    monkeypatch.setattr(Tokenizer, "load", classmethod(lambda kind, name: scenes))


def test_base_is_as_published(words, data):
    """Source: the published task configurations."""
    assert size_of("base").config == FiberConfig()
    file = str(data / "single" / "data.jsonl")
    pretrain = RECIPES["fiber-coarse"](Asked(data=file, size="base"))
    assert (pretrain.steps, pretrain.sources[0].batch_size, pretrain.image_size, pretrain.max_text) == (
        100_000,
        4096,
        384,
        40,
    )
    assert (pretrain.optim.lr, pretrain.optim.head_multiplier, pretrain.optim.cross_multiplier) == (1e-5, 5.0, 5.0)
    assert pretrain.sources[0].heads == {"mlm": 1.0, "itc": 1.0, "itm": 1.0}
    assert pretrain.heads == {"itc": {"queue": 4096}}
    for task, size, head, epochs in (("vqa", 576, 50, 10), ("nlvr2", 384, 50, 5), ("retrieval", 576, 5, 10)):
        run = RECIPES[task](
            Asked(data=str(data / ("pairs" if task == "nlvr2" else "single") / "data.jsonl"), size="base")
        )
        assert (run.image_size, run.max_text, run.sources[0].augment) == (size, 50, "randaugment")
        assert (run.optim.lr, run.optim.head_multiplier, run.optim.warmup, run.optim.clip_norm) == (
            2e-5,
            head,
            0.1,
            None,
        )
        texts = {"vqa": 8 * 6, "nlvr2": 6 * 2, "retrieval": 8 * 2}[task]
        assert run.steps == -(-texts * epochs // run.sources[0].batch_size), "every text once an epoch"


def test_steps_follow_from_epochs_and_small_data_make_small_batches(data):
    run = RECIPES["vqa"](Asked(data=str(data / "single" / "data.jsonl")))
    assert (run.sources[0].batch_size, run.steps) == (8, 15)
    assert RECIPES["vqa"](Asked(steps=7)).steps == 7


def test_unusable_samples_do_not_count(tmp_path, data):
    rows = (data / "single" / "data.jsonl").read_text().splitlines()
    (tmp_path / "some.jsonl").write_text("\n".join(["{", *rows[:2]]) + "\n")
    assert RECIPES["vqa"](Asked(data=str(tmp_path / "some.jsonl"))).steps == 15
    (tmp_path / "none.jsonl").write_text(json.dumps({"id": "1", "image": "a.png", "captions": ["a"]}) + "\n")
    with pytest.raises(DataError, match="have no questions"):
        RECIPES["vqa"](Asked(data=str(tmp_path / "none.jsonl")))


def test_a_model_brings_the_hyper_parameters_of_its_size(model):
    assert size_like(str(model)) == "nano"
    run = RECIPES["nlvr"](Asked(init=str(model)))
    assert run.optim.lr == size_of("nano").finetune_lr and (run.image_size, run.max_text, run.system) == (0, 0, "")


def test_sizes(words):
    assert [SIZES[name]().config.text.width for name in ("nano", "tiny", "base")] == [128, 384, 768]
    with pytest.raises(ConfigError, match="size 'bas' is unknown; did you mean 'base'"):
        size_of("bas")
    with pytest.raises(ConfigError, match="no data of its own"):
        RECIPES["vqa"](Asked(size="tiny"))
