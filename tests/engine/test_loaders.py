"""Sources of boxes: what they read becomes batches for grounding, what does not fit together is refused, all tasks are scored."""

import json
from dataclasses import replace

import pytest
import torch

from tests.engine.test_build import run_of
from tests.micro import micro_size
from vlfuse.checkpoints.config import config_to_dict
from vlfuse.engine.build import build
from vlfuse.engine.run import Boxes, Evaluation, Source
from vlfuse.engine.train import train
from vlfuse.types import ConfigError

SCENES = "scenes:8,size=64,fields="
HEAD = {"grounding": {"width": 16, "blocks": 1, "levels": 2, "anchor_scale": 4.0}}
SOURCES = (
    Source(SCENES + "captions+phrases", {"grounding": 1.0}, 4, boxes=Boxes("phrases", flip=0.5, sides="swap")),
    Source(SCENES + "expressions", {"grounding": 1.0}, 4, boxes=Boxes("expressions", 2, scales=(48, 64))),
    Source(SCENES + "regions", {"grounding": 1.0}, 4, boxes=Boxes("regions", negatives=2, crop=True)),
)
TASKS = ("detection", "grounding", "referring")


def regions_run(out, **changes):
    return run_of(out, **{"sources": SOURCES, "config": config_to_dict(micro_size().config), "heads": HEAD, **changes})


def test_every_kind_of_source_is_learnt_from_and_every_task_scored(tmp_path):
    held_out = tuple(Evaluation(task, "scenes:3,size=64,split=test") for task in TASKS)
    run = regions_run(tmp_path, evaluations=held_out)
    built = build(run)
    batches = [next(loader.iterate()) for loader in built.loaders]
    assert [len(batch.grounding.owner) for batch in batches] == [4, 8, 4]
    assert batches[0].images.pixels.shape == (4, 3, 64, 64), "the whole picture, at the size of the run"
    train(run, built.model, built.loaders, built.evaluators)
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert scores["detection/count"] == 3 and scores["referring/count"] == 9 and scores["grounding/count"] > 9
    assert 0 <= scores["detection/AP50"] <= 1


def test_a_blind_run_sees_shapes_alone(tmp_path):
    for loader in build(regions_run(tmp_path, blind=True)).loaders:
        batch = next(loader.iterate())
        assert not batch.images.pixels.any() and len(batch.grounding.objects.boxes)


def test_few_pictures_are_learnt_from_with_the_classes_of_all(tmp_path):
    source = replace(SOURCES[2], boxes=Boxes("regions", shots=1), batch_size=1)
    loader = build(regions_run(tmp_path, sources=(source,))).loaders[0]
    assert 1 <= len(loader.dataset) < 8
    batch = next(loader.iterate())
    assert set(batch.grounding.records[0].things) == set(range(6)), "all classes fit in one prompt"
    again = build(regions_run(tmp_path, sources=(source,))).loaders[0]
    assert again.dataset.indices == loader.dataset.indices
    torch.testing.assert_close(next(again.iterate()).images.pixels, batch.images.pixels)


def test_a_published_detector_goes_on_as_it_was_trained(tmp_path):
    run = regions_run(tmp_path, heads={"grounding": {**HEAD["grounding"], "published": True}})
    batch, theirs = (next(build(r).loaders[0].iterate()) for r in (regions_run(tmp_path), run))
    assert theirs.grounding.tokens.ids.shape[1] == run.max_text > batch.grounding.tokens.ids.shape[1]
    lost = batch.grounding.objects.boxes - theirs.grounding.objects.boxes
    assert bool((lost[:, 2:] == 1).all(1).logical_or((lost[:, :2] == 1).any(1)).all()), (
        "the last pixel, or mirrored the first"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(SCENES + "regions", {"grounding": 1.0}, 4), "boxes.reads is ''"),
        (Source(SCENES + "regions", {"mlm": 1.0}, 4, boxes=Boxes("regions")), "no other head does"),
        (Source(SCENES + "regions", {"grounding": 1.0, "mlm": 1.0}, 4, boxes=Boxes("regions")), "alone in its source"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, source, message):
    with pytest.raises(ConfigError, match=message):
        build(regions_run(tmp_path, sources=(source,), heads={}))


def test_values_without_effect_are_refused():
    with pytest.raises(ConfigError, match="boxes.shots is set but would be ignored"):
        Boxes("phrases", shots=3)
    with pytest.raises(ConfigError, match="nothing is read"):
        Boxes(flip=0.5)
    with pytest.raises(ConfigError, match="source.captions is set but would be ignored"):
        Source("scenes:8", {"grounding": 1.0}, 4, captions=1, boxes=Boxes("phrases"))
