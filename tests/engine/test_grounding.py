"""The engine trains grounding as any other head, by the rates, decays and averages of the fine stage."""

from collections.abc import Iterator
from pathlib import Path

from tests.contract.sizes import batch_for, tiny_model
from tests.engine.stub import stub_run
from vlfuse.engine.log import read
from vlfuse.engine.run import Optim, Source
from vlfuse.engine.train import train
from vlfuse.types import Batch


class Always:
    def __init__(self, batch: Batch):
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def iterate(self, epoch: int = 0, start_step: int = 0) -> Iterator[Batch]:
        yield self.batch


def run(out: Path, **changes):
    optim = Optim(
        3e-3, weight_decay=0.01, schedule="steps", warmup=5, clip_norm=1.0, doubled_biases=True, decay_drops=True
    )
    source = Source("scenes:4", {"grounding": 1.0}, batch_size=4)
    return stub_run(out, sources=(source,), optim=optim, steps=60, average=0.9, save_every=30, **changes)


def test_the_loss_falls(tmp_path):
    train(run(tmp_path), tiny_model("fiber", "grounding"), [Always(batch_for("grounding"))])
    losses = [row["loss"] for row in read(tmp_path / "log.jsonl")]
    assert losses[-1] < 0.8 * losses[0]
    assert {"grounding/box", "grounding/centerness", "grounding/tokens"} <= read(tmp_path / "log.jsonl")[0].keys()
