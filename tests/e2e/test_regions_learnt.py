"""From data to boxes in the user's pixels: what a small model learns by heart of two scenes, it finds in them again."""

from dataclasses import replace

import pytest

from tests.engine.test_loaders import SOURCES, regions_run
from tests.micro import micro_size
from vlfuse.checkpoints.config import config_to_dict
from vlfuse.data.classes import class_names
from vlfuse.data.readers import open_dataset
from vlfuse.engine.build import build
from vlfuse.engine.run import Boxes, Evaluation, Optim
from vlfuse.engine.train import train
from vlfuse.predict import Predictor

DATA = "scenes:2,size=96,things=2,fields=regions+expressions"  # larger than the model sees them
TASKS = {"detection": "AP50", "referring": "P@1"}


@pytest.mark.slow
def test_two_scenes_learnt_by_heart(tmp_path):
    size = micro_size().config
    config = config_to_dict(replace(size, swin=replace(size.swin, embed_dim=24, heads=(1, 2))))
    sources = tuple(
        replace(source, data=DATA, batch_size=2, boxes=boxes)
        for source, boxes in ((SOURCES[2], Boxes("regions")), (SOURCES[1], Boxes("expressions", 3)))
    )
    run = regions_run(
        tmp_path,
        sources=sources,
        config=config,
        steps=200,
        heads={"grounding": {"width": 32, "blocks": 1, "levels": 2, "anchor_scale": 2.0}},
        optim=Optim(5e-3, head_multiplier=1.0, cross_multiplier=1.0, clip_norm=1.0),
        evaluations=tuple(Evaluation(task, DATA) for task in TASKS),
    )
    built = build(run)
    train(run, built.model, built.loaders, built.evaluators)
    found = {e.name: e.scores(built.model.eval()) for e in built.evaluators}
    for task, metric in TASKS.items():
        assert found[task][metric] > 0.7, (task, found)
    model = Predictor(
        built.model, built.tokenizer, built.preprocessing.transform(), built.preprocessing.max_text, "cpu"
    )
    for sample in (open_dataset(DATA)[i] for i in range(2)):
        seen = model.detect(sample.images[0], class_names(open_dataset(DATA)), 0.1)  # asked as it was taught
        for region in sample.regions:
            assert any(d.label == region.label and overlap(d.box, region.box) > 0.5 for d in seen), (region, seen)
        for expression in sample.expressions:
            assert overlap(model.refer(sample.images[0], expression.text).box, expression.box) > 0.5


def overlap(one, other):
    sides = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    both = sides[0] * sides[1]
    return both / (sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - both)
