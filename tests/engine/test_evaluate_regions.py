"""Detection, grounding and referring over a data set: everything is asked once, whoever asks, and right boxes score all."""

import json

import pytest
import torch

from tests.engine.regions import NAMES, SCENES, SIDE, TOKENIZER, loader, micro, scores_of
from tests.engine.two_processes import launch
from vlfuse.engine import evaluate_regions
from vlfuse.engine.distributed import World
from vlfuse.engine.evaluate_regions import detection, grounding, referring
from vlfuse.tasks.regions import Regions
from vlfuse.types import Sample, TaskError

SCALE = SIDE / 64


def test_everything_is_asked_once():
    found = scores_of(micro(), World())
    samples = [SCENES[i] for i in range(len(SCENES))]
    assert found["detection"]["count"] == len(samples)
    assert found["grounding"]["count"] == sum(len(sample.phrases) for sample in samples)
    assert found["referring"]["count"] == sum(len(sample.expressions) for sample in samples)
    for scores in found.values():
        assert all(-1 <= value <= 1 for name, value in scores.items() if name != "count")


def regions(boxes, labels):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4) * SCALE
    return Regions(boxes, torch.ones(len(boxes)), torch.tensor(labels, dtype=torch.long))


@pytest.fixture
def right(monkeypatch):
    """Stand for `find`: gives what is right for each text in turn, in pixels of the smaller picture that the model sees."""

    def install(answers):
        answers = iter(answers)
        monkeypatch.setattr(evaluate_regions, "find", lambda *given: [next(answers) for _ in given[5]])

    return install


def test_right_boxes_score_all(right):
    samples = [SCENES[i] for i in range(len(SCENES))]
    right(regions([r.box for r in s.regions], [NAMES.index(r.label) for r in s.regions]) for s in samples)
    found = detection(micro(), loader("expressions"), World(), TOKENIZER, 40, NAMES)
    assert found["AP"] == pytest.approx(1) and found["AR100"] == pytest.approx(1)
    right(regions([e.box], [0]) for s in samples for e in s.expressions)
    found = referring(micro(), loader("expressions"), World(), TOKENIZER, 40)
    assert found["P@1"] == found["giou_P@1"] == 1
    told = [
        [phrase for phrase in sample.phrases if phrase.caption == caption]
        for sample in samples
        for caption in sorted({phrase.caption for phrase in sample.phrases})
    ]
    right(regions([box for p in ps for box in p.boxes], [i for i, p in enumerate(ps) for _ in p.boxes]) for ps in told)
    found = grounding(micro(), loader("phrases"), World(), TOKENIZER, 40)
    assert found["recall@1"] == found["upper_bound"] == 1


def test_nothing_to_score_is_said():
    bare = [Sample("1", SCENES[0].images, origin="x:1"), Sample("2", SCENES[1].images, origin="x:2")]
    with pytest.raises(TaskError, match="holds no regions"):
        detection(micro(), loader("expressions", bare), World(), TOKENIZER, 40, NAMES)
    with pytest.raises(TaskError, match="holds no expressions"):
        referring(micro(), loader("expressions", bare), World(), TOKENIZER, 40)
    with pytest.raises(TaskError, match="holds no phrases"):
        grounding(micro(), loader("phrases", bare), World(), TOKENIZER, 40)


@pytest.mark.slow
def test_two_processes_count_as_one(tmp_path):
    launch("regions", tmp_path, 1)
    launch("regions", tmp_path, 2)
    one, *two = (json.loads((tmp_path / f"regions-{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    for found in two:
        for task, scores in one.items():
            assert found[task] == pytest.approx(scores, abs=1e-6), task
