"""The engine trains grounding as any other head: rates, checkpoints, and a batch kept when the loss is no number."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.contract.sizes import batch_for, tiny_model
from tests.engine.stub import stub_run
from vlfuse.engine.failure import read_batch
from vlfuse.engine.log import read
from vlfuse.engine.run import Optim, Source
from vlfuse.engine.step import NonFinite
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


def test_a_bad_batch_is_kept_with_its_objects(tmp_path):
    batch = batch_for("grounding")
    spoilt = replace(batch, images=replace(batch.images, pixels=batch.images.pixels * torch.nan))
    with pytest.raises(NonFinite):
        train(run(tmp_path), tiny_model("fiber", "grounding"), [Always(spoilt)])
    kept = read_batch(next((tmp_path / "nonfinite").rglob("batch-0-rank0.safetensors"))).grounding
    assert kept is not None and kept.objects is not None
    assert batch.grounding is not None and batch.grounding.objects is not None
    for name in ("boxes", "positive", "text"):
        assert torch.equal(getattr(kept.objects, name), getattr(batch.grounding.objects, name))
