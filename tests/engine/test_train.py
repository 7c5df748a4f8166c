"""The loop: resumable to the bit, and stopping as it should."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from tests.engine.stub import StubLoader, stub_model, stub_run
from vlfuse.engine import checkpoint
from vlfuse.engine.failure import read_batch
from vlfuse.engine.log import read
from vlfuse.engine.run import Evaluation, Optim, Source
from vlfuse.engine.step import NonFinite, passes
from vlfuse.engine.train import Evaluator, Stopped, train
from vlfuse.types import ConfigError


def curve(out):
    """Everything logged but the speed."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in read(out / "log.jsonl")]


def interrupting(at):
    """A loader that sends this process a signal with its n-th batch."""

    class Interrupting(StubLoader):
        def iterate(self, epoch=0, start_step=0):
            for step, batch in enumerate(super().iterate(epoch, start_step), start=start_step):
                if epoch * self.length + step == at:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    return Interrupting()


@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 2}, {"precision": "bf16"}, {"precision": "fp16"}, {"average": 0.9}]
)
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, changes):
    """Stopped in the middle of the second epoch, with dropout on and the optimiser warm."""
    samples = 8 // changes.get("accumulate", 1)
    model = stub_model()
    train(stub_run(tmp_path / "whole", **changes), model, [StubLoader(samples)])
    loader = interrupting(at=9)
    loader.samples, loader.rows = samples, slice(0, samples)
    with pytest.raises(Stopped, match="--resume"):
        train(stub_run(tmp_path / "halted", **changes), stub_model(), [loader])
    stopped = len(curve(tmp_path / "halted"))
    assert 0 < stopped < 20
    resumed = stub_model(seed=3)
    train(stub_run(tmp_path / "halted", **changes), resumed, [StubLoader(samples)], resume=True)
    assert curve(tmp_path / "halted") == curve(tmp_path / "whole")
    for name, tensor in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_first_update_has_rate_zero_and_the_loss_falls(tmp_path):

    class Same(StubLoader):
        def iterate(self, epoch=0, start_step=0):
            return super().iterate(0, start_step)

    train(stub_run(tmp_path, steps=150, optim=Optim(lr=3e-2)), stub_model(dropout=0.0), [Same(length=3)])
    rows = curve(tmp_path)
    assert rows[0]["lr"] == 0 and rows[0]["step"] == 1 and rows[-1]["step"] == 150
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"]


def test_accumulated_passes_equal_one_large_batch(tmp_path):
    """Where every part asks equally many questions, two passes of 4 are one of 8."""

    class Halves(StubLoader):
        def iterate(self, epoch=0, start_step=0):
            for step in range(start_step, self.length):
                whole = next(StubLoader(8, 7).iterate(step // 2, 0))
                whole.questions.target.clamp_(min=0)
                from tests.engine.stub import rows

                yield rows(whole, self.rows if self.samples == 8 else slice(4 * (step % 2), 4 * (step % 2) + 4))

    class Wholes(Halves):
        def iterate(self, epoch=0, start_step=0):
            return (batch for step, batch in enumerate(super().iterate(0, 0)) if step % 2 == 0)

    for name, accumulate, loader in (("two", 2, Halves(4, 12)), ("one", 1, Wholes(8, 12))):
        run = stub_run(tmp_path / name, steps=5, accumulate=accumulate)
        train(run, stub_model(dropout=0.0), [loader])
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


def test_sources_take_their_turns():
    one, two = (Source("scenes:9", {"guess": 1.0}, 8, questions=1, every=every) for every in (1, 3))
    taken = [[(p.source, p.batch) for p in passes((one, two), step, 2)] for step in range(4)]
    assert taken[0] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert taken[1] == [(0, 2), (0, 3)]
    assert taken[3] == [(0, 6), (0, 7), (1, 2), (1, 3)], "no batch is skipped"


def test_a_source_takes_part_between_its_first_and_last_step():
    one, two = (
        Source("scenes:9", {"guess": 1.0}, 8, 1, last=4),
        Source("scenes:9", {"guess": 1.0}, 8, 1, every=2, first=3),
    )
    taken = [[(p.source, p.batch) for p in passes((one, two), step, 1)] for step in range(6)]
    assert taken == [[(0, 0)], [(0, 1)], [(0, 2)], [(0, 3), (1, 0)], [], [(1, 1)]]


def test_several_sources_sum_their_weighted_losses(tmp_path):
    sources = (
        Source("scenes:9", {"guess": 1.0, "spare": 0.5}, 8, questions=1, statements=1),
        Source("scenes:8", {"guess": 2.0}, 8, questions=1),
    )
    train(stub_run(tmp_path, sources=sources, steps=2), stub_model(), [StubLoader(), StubLoader()])
    row = curve(tmp_path)[0]
    expected = row["guess@0/loss"] + 0.5 * row["spare/loss"] + 2 * row["guess@1/loss"]
    assert row["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(tmp_path):
    model = stub_model()
    with pytest.raises(NonFinite, match=r"step 9: loss, guess/loss.*nonfinite/step-00000009"):
        train(stub_run(tmp_path), model, [StubLoader(spoil=9)])
    assert all(parameter.isfinite().all() for parameter in model.parameters()), "the weights were not touched"
    folder = tmp_path / "nonfinite" / "step-00000009"
    assert json.loads((folder / "report-rank0.json").read_text())["values"]["loss"] == "nan"
    batch = read_batch(folder / "batch-0-rank0.safetensors")
    assert batch.images.pixels[0].isnan().all() and model(batch, ("guess",))["guess"]["loss"].isnan()
    assert checkpoint.latest(tmp_path / "checkpoints").name == "step-00000005"


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    run = stub_run(tmp_path, steps=2)
    train(run, stub_model(), [StubLoader()])
    with pytest.raises(ConfigError, match="--resume"):
        train(run, stub_model(), [StubLoader()])
    with pytest.raises(ConfigError, match="steps: 2 before, 3 now"):
        train(replace(run, steps=3), stub_model(), [StubLoader()], resume=True)


def test_resuming_before_the_first_checkpoint_starts_anew(tmp_path):
    run = stub_run(tmp_path / "a", steps=6)
    train(run, stub_model(), [StubLoader()])
    whole = curve(tmp_path / "a")
    for path in (tmp_path / "a" / "checkpoints").iterdir():
        (path / checkpoint.STATE).unlink()
    with open(tmp_path / "a" / "log.jsonl", "a") as log:
        log.write('{"step": 7, "lo')  # a line the crash cut short
    train(run, stub_model(), [StubLoader()], resume=True)
    assert curve(tmp_path / "a") == whole


def test_evaluations_and_the_best_checkpoint(tmp_path):
    """Scores are logged on schedule and drawing in them disturbs nothing; the best weights are those released."""
    seen = []

    def scores(model):
        assert not model.training and not torch.is_grad_enabled()
        torch.rand(3)
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"accuracy": [0.1, 0.9, 0.3, 0.2, 0.9][len(seen) - 1]}

    model = stub_model()
    run = stub_run(
        tmp_path / "with", steps=8, keep=1, evaluations=(Evaluation("vqa", "scenes:9", 2),), best="vqa/accuracy"
    )
    train(run, model, [StubLoader()], [Evaluator("vqa", scores, every=2)])
    rows = curve(tmp_path / "with")
    assert [(row["step"], row["scores"]["vqa/accuracy"]) for row in rows if "scores" in row] == [(2, 0.1), (4, 0.9), (6, 0.3), (8, 0.2)]  # fmt: skip
    assert sorted(p.name[-1] for p in (tmp_path / "with" / "checkpoints").iterdir()) == ["4", "8"]
    assert all(torch.equal(seen[1][name], tensor) for name, tensor in model.state_dict().items())
    assert json.loads((tmp_path / "with" / "metrics.json").read_text()) == {"step": 4, "vqa/accuracy": 0.9}
    train(stub_run(tmp_path / "without", steps=8), stub_model(), [StubLoader()])
    assert [row for row in rows if "scores" not in row] == curve(tmp_path / "without")


def test_tensorboard_when_asked(tmp_path):
    pytest.importorskip("tensorboard")
    train(stub_run(tmp_path, steps=2, tensorboard=True), stub_model(), [StubLoader()])
    assert list((tmp_path / "tensorboard").glob("events*"))
