"""The running average of the weights: what it is, that evaluation sees it, and that it is what a run leaves behind."""

import pytest
import torch

from tests.engine.stub import StubLoader, stub_model, stub_run
from vlfuse.engine.average import averaged, follow
from vlfuse.engine.run import Evaluation
from vlfuse.engine.train import Evaluator, train
from vlfuse.types import ConfigError


def test_it_follows_the_weights_at_its_pace():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([weight], weight_decay=0.0)
    for step in range(1000):
        weight.grad = torch.zeros(1)
        optimiser.step()
        follow(optimiser, 0.99, step)
        if step == 998:
            weight.data.fill_(1.0)
    with averaged(optimiser):
        assert weight.item() == pytest.approx(0.01, rel=1e-3)
    assert weight.item() == 1.0


def test_evaluation_and_release_use_the_average(tmp_path):
    """The weights that training goes on with are others."""
    seen = []
    run = stub_run(tmp_path / "run", average=0.95, evaluations=(Evaluation("seen", "scenes:1", every=10),))
    model, plain = stub_model(), stub_model()
    watch = Evaluator("seen", lambda m: seen.append(m.system.image.weight.detach().clone()) or {"x": 1.0}, every=10)
    train(run, model, [StubLoader()], [watch])
    train(stub_run(tmp_path / "plain"), plain, [StubLoader()])
    assert len(seen) == 2
    assert torch.equal(seen[-1], model.system.image.weight)
    assert not torch.equal(seen[-1], plain.system.image.weight)
    torch.testing.assert_close(seen[-1], plain.system.image.weight, atol=0.1, rtol=0)


def test_the_best_is_released_with_its_average(tmp_path):
    seen = []
    run = stub_run(
        tmp_path / "run", average=0.95, best="seen/x", evaluations=(Evaluation("seen", "scenes:1", every=5),)
    )

    def score(model):
        seen.append(model.system.image.weight.detach().clone())
        return {"x": -abs(len(seen) - 2.0)}

    model = stub_model()
    train(run, model, [StubLoader()], [Evaluator("seen", score, every=5)])
    assert torch.equal(model.system.image.weight, seen[1])


def test_a_share_it_must_be():
    with pytest.raises(ConfigError, match="run.average"):
        stub_run("nowhere", average=1.0)
