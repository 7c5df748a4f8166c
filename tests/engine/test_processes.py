"""Two processes (gloo) against one with the joined batch: losses, gradients and scores are the same."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.two_processes import launch
from vlfuse.engine.log import read


@pytest.mark.slow
def test_losses_gradients_and_scores_are_those_of_the_joined_batch(tmp_path):
    """Real heads on real batches: gathered contrast, negatives from all processes, means over unlike counts, accumulation."""
    launch("gradients", tmp_path, 1)
    launch("gradients", tmp_path, 2)
    one = load_file(tmp_path / "of-1-rank0.safetensors")
    for rank in range(2):
        two = load_file(tmp_path / f"of-2-rank{rank}.safetensors")
        assert two.keys() == one.keys()
        assert int(two["samples"]) == int(one["samples"])
        for name, expected in one.items():
            if name.startswith("score/"):
                assert torch.equal(two[name], expected), name
            elif name.startswith("value/"):
                exact = "loss" in name or name.endswith(("grad_norm", "temperature"))  # accuracies are means of means
                torch.testing.assert_close(
                    two[name], expected, rtol=1e-5 if exact else 1.0, atol=1e-6 if exact else 1.0
                )
            else:
                limit = 2e-4 * float(expected.abs().max()) + 1e-7
                torch.testing.assert_close(two[name], expected, rtol=0, atol=limit, msg=lambda m, n=name: f"{n}: {m}")


def test_gathered_rows_and_means_have_the_joined_gradient(tmp_path):
    launch("ops", tmp_path, 1)
    launch("ops", tmp_path, 2)
    one, two, other = (load_file(tmp_path / f"ops-{name}.safetensors") for name in ("1-rank0", "2-rank0", "2-rank1"))
    torch.testing.assert_close(two["grad"], one["grad"])
    torch.testing.assert_close(two["loss"], one["loss"])
    assert two["asked"] + other["asked"] == one["asked"] and two["asked"] != other["asked"], "the counts differ"


def test_the_loop_runs_and_resumes_in_two_processes(tmp_path):
    """The curve is that of one process, in every number but rounding; one process goes on where two were cut off."""
    launch("loop", tmp_path, 1)
    launch("loop", tmp_path, 2)
    one, two = (read(tmp_path / f"run-{n}" / "log.jsonl") for n in (1, 2))
    assert len(one) == 12 + 4
    for expected, found in zip(one, two, strict=True):
        for name, value in expected.items():
            if name not in ("images_per_second", "guess/accuracy", "scores"):
                assert found[name] == pytest.approx(value, rel=1e-4), (expected["step"], name)
    shutil.rmtree(tmp_path / "run-2" / "checkpoints" / "step-00000012")
    shutil.rmtree(tmp_path / "run-1")
    (tmp_path / "run-2").rename(tmp_path / "run-1")
    record = (tmp_path / "run-1" / "run.json").read_text()
    (tmp_path / "run-1" / "run.json").write_text(record.replace("run-2", "run-1"))
    launch("loop", tmp_path, 1)
    again = read(tmp_path / "run-1" / "log.jsonl")
    assert [row["step"] for row in again] == [row["step"] for row in one]
    for expected, found in zip(one, again, strict=True):
        if "loss" in expected:
            assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
