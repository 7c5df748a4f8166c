"""From a run's configuration to model, loaders and evaluators; models that go on from a released one."""

import json
from dataclasses import replace

import pytest
import torch

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints.config import config_to_dict
from vlfuse.checkpoints.folder import Preprocessing, save_folder
from vlfuse.data.readers import open_dataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.build import build, carry, known_answers
from vlfuse.engine.loaders import check_texts, text_collate
from vlfuse.engine.run import Evaluation, Run, Source
from vlfuse.objectives.spotting import Spotting
from vlfuse.systems.base import Head, Model
from vlfuse.systems.fiber import FiberConfig
from vlfuse.tasks.vqa import Vqa
from vlfuse.types import ConfigError

DATA = "scenes:16,size=64"
SWIN = SwinConfig(embed_dim=32, depths=(2, 2), heads=(2, 2), window=8, patch=4)  # tiles 64 pixels as published
CONFIG = FiberConfig(
    SWIN, TextConfig(Tokenizer.load("scenes").vocab_size, 32, 3, 2, 64, positions=60), fuse_last=2, width=32
)


def run_of(out, **changes) -> Run:
    settings = {
        "recipe": "test",
        "out": str(out),
        "steps": 2,
        "sources": (Source(DATA, {"mlm": 1.0, "vqa": 1.0}, 4, captions=1, questions=2),),
        "system": "fiber",
        "config": config_to_dict(CONFIG),
        "tokenizer": "scenes",
        "image_size": 64,
        "max_text": 40,
        "device": "cpu",
    }
    return Run(**{**settings, **changes})


def test_a_fresh_model_and_its_batches(tmp_path):
    built = build(run_of(tmp_path))
    batch = next(built.loaders[0].iterate())
    assert len(batch.images) == 4 and len(batch.questions.tokens) == 8 and batch.captions.mask_labels is not None
    assert set(built.model.heads) == {"mlm", "vqa"}
    again = build(run_of(tmp_path)).model.state_dict()
    assert all(torch.equal(again[name], t) for name, t in built.model.state_dict().items()), (
        "weights follow from the seed"
    )
    results = built.model(batch)
    assert all(result["loss"].isfinite() for result in results.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": (Source(DATA, {"mln": 1.0}, 4, captions=1),)}, "head 'mln' is unknown; did you mean 'mlm'"),
        (
            {"sources": (Source(DATA, {"mlm": 1.0}, 4, captions=1, questions=2),)},
            "questions is 2, but none of its heads",
        ),
        ({"sources": (Source(DATA, {"mlm": 1.0}, 4),)}, "its heads read captions; set how many"),
        ({"heads": {"itc": {"queue": 8}}}, "settings for 'itc', which no source trains"),
        ({"heads": {"mlm": {"quue": 8}}}, "setting 'quue' of head 'mlm'"),
        ({"evaluations": (Evaluation("vqq", DATA),)}, "evaluation 'vqq' is unknown; did you mean 'vqa'"),
        ({"sources": (Source(DATA, {"nlvr": 1.0, "entailment": 1.0}, 4, statements=1),)}, "different labels"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build(run_of(tmp_path, **changes))


class Learner(Head):
    """A head of another's making, which nothing but its attributes speaks for."""

    reads, needs = "captions", ("masks", "phrases", "labels")
    labels = ("false", "true")

    def forward(self, system, states, batch):
        raise NotImplementedError


def test_a_new_head_is_given_what_it_needs(tmp_path):
    model = build(run_of(tmp_path)).model
    model = Model(model.system, {"new": Learner(), "spotting": Spotting(model.system)})
    source = Source(DATA, {"new": 1.0}, 4, captions=1, mask_probability=0.3)
    words = text_collate(run_of(tmp_path), source, model, Tokenizer.load("scenes"), Preprocessing(64, 40))
    assert (words.phrases, words.mask_probability, words.labels, words.answers) == (True, 0.3, ("false", "true"), None)
    check_texts(run_of(tmp_path, sources=(source,)), model)
    with pytest.raises(ConfigError, match="its heads read queries; set how many"):
        check_texts(run_of(tmp_path, sources=(replace(source, heads={"spotting": 1.0}, captions=0),)), model)


def test_a_blind_run_sees_nothing(tmp_path):
    run = run_of(tmp_path, blind=True, evaluations=(Evaluation("vqa", DATA),))
    built = build(run)
    assert not next(built.loaders[0].iterate()).images.pixels.any()
    unseen = built.evaluators[0].scores(built.model.eval())
    assert 0 <= unseen["accuracy"] <= 1 and unseen["count"] > 0


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    built = build(run_of(folder))
    for parameter in built.model.parameters():
        parameter.data.normal_(std=0.1)
    save_folder(folder / "model", built.model, built.tokenizer, built.preprocessing)
    return folder / "model", built.model


def on(tmp_path, folder, **changes):
    return run_of(tmp_path, **{"system": "", "config": {}, "tokenizer": "", "image_size": 0, "max_text": 0, "init": str(folder), **changes})  # fmt: skip


def test_a_captioner_takes_over_the_words_of_a_pre_trained_model(tmp_path, released):
    folder, model = released
    sources = (Source(DATA, {"caption": 1.0}, 4, captions=1),)
    built = build(on(tmp_path, folder, sources=sources, heads={"caption": {"by": "cider"}}))
    head, words = built.model.head("caption"), model.head("mlm")
    for part in ("dense", "norm", "decoder"):
        assert torch.equal(head.get_submodule(part).weight, words.get_submodule(part).weight)
    assert head.learning.by == "cider" and head.reward.documents == 16 and head.decoding.max_tokens == 39
    result = built.model.train()(next(built.loaders[0].iterate()), generator=torch.Generator().manual_seed(0))
    assert result["caption"]["loss"].isfinite() and "reward" in result["caption"]
    with pytest.raises(ConfigError, match="bye"):
        build(on(tmp_path, folder, sources=sources, heads={"caption": {"bye": "cider"}}))


def test_going_on_keeps_what_was_trained(tmp_path, released):
    folder, model = released
    sources = (Source(DATA, {"vqa": 1.0, "nlvr": 1.0}, 4, questions=2, statements=1),)
    built = build(on(tmp_path, folder, sources=sources))
    assert set(built.model.heads) == {"vqa", "nlvr"}
    assert built.preprocessing == Preprocessing(64, 40)
    for name, tensor in built.model.state_dict().items():
        if not name.startswith("heads.nlvr"):
            assert torch.equal(tensor, model.state_dict()[name]), name


def test_pictures_of_another_size_resize_the_tables(tmp_path, released):
    folder, model = released
    built = build(on(tmp_path, folder, image_size=96))
    assert (
        built.model.system.config.swin.window == 12 and next(built.loaders[0].iterate()).images.pixels.shape[-1] == 96
    )
    old, new = model.state_dict(), built.model.state_dict()
    tables = [name for name in old if name.endswith("bias_table")]
    assert tables and all(len(new[name]) == 23**2 for name in tables)
    assert all(torch.equal(new[name], old[name]) for name in old if name not in tables)


def test_answers_that_both_know_keep_their_rows(released):
    model = released[1]
    old = model.head("vqa")
    assert isinstance(old, Vqa)
    new = Vqa(model.system, ("unheard", old.answers[3], old.answers[0]))
    before = new.classifier[-1].weight[0].clone()
    carry(old, new)
    weights = new.classifier[-1].weight
    assert torch.equal(weights[1], old.classifier[-1].weight[3]) and torch.equal(
        weights[2], old.classifier[-1].weight[0]
    )
    assert torch.equal(weights[0], before) and torch.equal(new.classifier[0].weight, old.classifier[0].weight)


def test_answers_come_from_the_training_data(tmp_path):
    records = [
        {"id": str(i), "image": "x.png", "questions": [{"question": "?", "answers": [answer]}]}
        for i, answer in enumerate(("Red.", "red", "blue"))
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    own = open_dataset(str(path))
    assert len(known_answers([own], 1)) == 2 and len(known_answers([own], 2)) == 1
    assert len(known_answers([open_dataset(DATA), own], 1)) == len(known_answers([open_dataset(DATA)], 1)), "one red"
    given = run_of(tmp_path, heads={"vqa": {"answers": ["yes", "no"]}})
    assert build(given).model.head("vqa").answers == ("yes", "no")
    assert build(replace(given, heads={})).model.head("vqa").answers == known_answers([open_dataset(DATA)], 1)
