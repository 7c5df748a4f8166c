"""Whatever boxes, spans and classes data hold: a run over them ends, what cannot be used is counted, or it says at once why not."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from tests.engine.test_loaders import SOURCES, regions_run
from vlfuse.engine.build import build
from vlfuse.engine.run import Boxes, Evaluation
from vlfuse.engine.train import train
from vlfuse.types import DataError, TaskError

CAPTION = "a red caf\u00e9 and a cafe\u0301"
FINE = {"box": [4, 4, 20, 20], "label": "star"}
USABLE = {
    "fine": {"regions": [FINE]},
    "beyond the border": {"regions": [{**FINE, "box": [30, 30, 900, 900]}, FINE]},
    "outside": {"regions": [{**FINE, "box": [200, 200, 300, 300]}]},
    "nothing": {"regions": []},
    "crowd": {"regions": [{**FINE, "iscrowd": 1}]},
    "thin": {"regions": [{**FINE, "box": [4, 4, 4.01, 30]}]},
    "twice": {"regions": [FINE, FINE]},
}
UNUSABLE = {
    "swapped corners": {"regions": [{**FINE, "box": [20, 20, 4, 4]}]},
    "no area": {"regions": [{**FINE, "box": [4, 4, 4, 20]}]},
    "no number": {"regions": [{**FINE, "box": [4, 4, float("nan"), 20]}]},
    "infinite": {"regions": [{**FINE, "box": [4, 4, float("inf"), 20]}]},
    "negative": {"regions": [{**FINE, "box": [-4, 4, 20, 20]}]},
    "three numbers": {"regions": [{**FINE, "box": [4, 4, 20]}]},
    "blank label": {"regions": [{**FINE, "label": " "}]},
}
PHRASES = {"fine": [2, 10], "outside": [2, 99], "reversed": [10, 2], "empty": [3, 3], "inside a character": [15, 21]}


def write(folder, records) -> str:
    Image.new("RGB", (64, 48), "white").save(folder / "a.png")
    lines = [json.dumps({"id": name, "image": "a.png", **record}) for name, record in records.items()]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "data.jsonl")


def finish(tmp_path, source, *tasks):
    """Run every sample through two updates or more and every task; returns what was left out."""
    held_out = tuple(Evaluation(task, source.data) for task in tasks)
    run = regions_run(tmp_path / "run", sources=(source,), evaluations=held_out, steps=4)
    built = build(run)
    train(run, built.model, built.loaders, built.evaluators)
    return built.loaders[0].problems.by_kind()


def test_bad_boxes_are_left_out_and_counted(tmp_path):
    data = write(tmp_path, USABLE | UNUSABLE)
    source = replace(SOURCES[2], data=data, batch_size=7, boxes=Boxes("regions", flip=0.5, crop=True))
    assert finish(tmp_path, source, "detection") == {"record": len(UNUSABLE)}
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["detection/count"] == len(USABLE)


def test_bad_spans_are_left_out_and_counted(tmp_path):
    data = write(
        tmp_path,
        {
            name: {"captions": [CAPTION], "phrases": [{"caption": 0, "span": span, "boxes": [[4, 4, 20, 20]]}]}
            for name, span in PHRASES.items()
        },
    )
    source = replace(SOURCES[0], data=data, batch_size=5)
    assert finish(tmp_path, source, "grounding") == {"record": 4}
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["grounding/count"] == 1


def test_a_set_without_anything_to_find_says_so(tmp_path):
    data = write(tmp_path, {"a": {"captions": ["a"]}, "b": {"captions": ["b"]}})
    with pytest.raises(DataError, match="no boxes with classes"):
        build(regions_run(tmp_path, sources=(replace(SOURCES[2], data=data, batch_size=2),)))
    source = replace(SOURCES[1], data=data, batch_size=2)
    loader = build(regions_run(tmp_path, sources=(source,))).loaders[0]
    with pytest.raises(DataError, match="has no expressions with a box inside its picture"):
        next(loader.iterate())


def test_a_class_that_no_prompt_holds_is_named_before_training(tmp_path):
    data = write(tmp_path, {"a": {"regions": [{**FINE, "label": "star " * 60}]}, "b": {"regions": [FINE]}})
    with pytest.raises(TaskError, match="alone takes"):
        build(regions_run(tmp_path, sources=(replace(SOURCES[2], data=data, batch_size=2),)))


def test_thousands_of_classes_are_asked_for_in_part(tmp_path):
    names = [f"c{number}" for number in range(5000)]
    records = {
        str(i): {"regions": [{**FINE, "label": name} for name in names[i * 50 : i * 50 + 50]]} for i in range(100)
    }
    source = replace(SOURCES[2], data=write(tmp_path, records), boxes=Boxes("regions"))
    batch = next(build(regions_run(tmp_path, sources=(source,))).loaders[0].iterate())
    assert batch.grounding.tokens.ids.shape[1] <= 40 and len(batch.grounding.objects.boxes)
