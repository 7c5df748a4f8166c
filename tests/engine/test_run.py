"""Run configurations: saved whole, read strictly, and refused where a value could not matter."""

import json

import pytest

from tests.engine.stub import stub_run
from vlfuse.engine.run import Evaluation, Optim, Run, Source, fingerprint, load_run, require_same, save_run
from vlfuse.types import ConfigError, DataError


def test_a_run_comes_back_as_saved(tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text('{"id": "1"}\n')
    source = Source(str(data), {"mlm": 1.0, "itm": 0.5}, 16, captions=1, augment="crop", flip=True)
    run = Run(
        recipe="pretrain",
        out=str(tmp_path / "out"),
        steps=10,
        sources=(source, Source("scenes:50", {"vqa": 1.0}, 8, questions=2, every=3)),
        optim=Optim(schedule="poly", power=2.0, clip_norm=1.0),
        evaluations=(Evaluation("retrieval", "scenes:20", every=5),),
        system="fiber",
        config={"fuse_last": 2},
        best="retrieval/rsum_percent",
    )
    path = save_run(run)
    assert load_run(tmp_path / "out") == run
    record = json.loads(path.read_text())
    assert record["versions"]["torch"] and record["data"][str(data)][str(data)]["bytes"] == 12
    require_same(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 5}, "stepz.*did you mean 'steps'"),
        ({"optim": {"lr": 1e-3, "beta": [0.9, 0.98]}}, "beta.*did you mean 'betas'"),
        ({"precision": "bf61"}, "precision is 'bf61'"),
        ({"steps": "many"}, "steps is 'many'"),
    ],
)
def test_unknown_keys_and_values_are_named(tmp_path, change, message):
    path = save_run(stub_run(tmp_path))
    record = json.loads(path.read_text())
    record["run"] |= change
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=message):
        load_run(tmp_path)


def optim(**changes):
    return lambda: Optim(**changes)


def source(**changes):
    return lambda: Source(**{"data": "scenes:9", "heads": {"mlm": 1.0}, "batch_size": 8, **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (optim(power=2.0), "power is set but would be ignored"),
        (optim(schedule="constant", end_lr=1e-6), "end_lr is set but would be ignored"),
        (optim(lr=0.0), "optim.lr is 0.0; it must be above 0"),
        (optim(lr=1e-4, end_lr=1e-3), "between 0 and lr"),
        (source(flip=True), "flip is set but would be ignored"),
        (source(heads={}), "at least one head"),
        (source(heads={"mlm": 0.0}), "leave a head out"),
        (lambda: stub_run("x", accumulate=3), "multiple of accumulate"),
        (lambda: stub_run("x", best="vqa/accuracy"), "there is no evaluation"),
        (lambda: stub_run("x", init="fiber-nano"), "not both"),
        (lambda: stub_run("x", sources=()), "at least one source"),
    ],
)
def test_values_that_cannot_serve_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_resuming_as_another_run_is_refused(tmp_path):
    save_run(stub_run(tmp_path))
    require_same(stub_run(tmp_path, workers=3, keep=5))  # how it runs may change
    with pytest.raises(ConfigError, match="seed: 0 before, 1 now"):
        require_same(stub_run(tmp_path, seed=1))


def test_resuming_on_changed_data_is_refused(tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text('{"id": "1"}\n')
    run = stub_run(tmp_path / "out", sources=(Source(str(data), {"guess": 1.0}, 8, questions=1),))
    save_run(run)
    data.write_text('{"id": "2"}\n')
    with pytest.raises(ConfigError, match="has changed since the run began"):
        require_same(run)


def test_fingerprints_name_missing_files(tmp_path):
    with pytest.raises(DataError, match=r"no\.jsonl cannot be read"):
        fingerprint(str(tmp_path / "no.jsonl"))
