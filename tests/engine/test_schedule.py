"""Learning rates: the published schedules, and what they are at the edges."""

import pytest

from tests.golden.vectors import load, vectors
from vlfuse.engine.schedule import decay_factor, lr_factor, warmup_steps

# (steps, warm-up, schedule, power) of the recorded schedules, see the description in the recording.
RECORDED = {"linear20": (20, 0.1, "linear", 1.0), "poly2": (30, 5, "poly", 2.0), "cosine": (24, 0.25, "cosine", 1.0)}


@pytest.mark.parametrize("path", vectors("fiber_coarse_optimizer*.json"))
@pytest.mark.parametrize("name", RECORDED)
def test_schedules_equal_the_recorded(path, name):
    steps, warmup, schedule, power = RECORDED[name]
    expected = load(path)[f"out/schedule_{name}"]
    for step, rates in enumerate(expected.tolist()):
        factor = lr_factor(step, steps, warmup_steps(warmup, steps), schedule, power)
        for rate, full in zip(rates, (1e-3, 1e-3, 5e-2, 5e-2, 5e-3, 5e-3), strict=True):
            assert abs(factor * full - rate) < 1e-12


@pytest.mark.parametrize("path", vectors("fiber_fine_lr_schedule*.json"))
def test_rates_and_decays_of_the_fine_stage(path):
    for recorded in load(path).meta["schedules"].values():
        steps, warmup = recorded["max_iter"], recorded["warmup_iters"]
        full = recorded["points"][0][2]
        for step, factor, decay in recorded["points"]:
            assert lr_factor(step, steps, warmup, "steps") == pytest.approx(factor, rel=1e-9), step
            dropped = full * decay_factor(step, steps) if recorded["weight_decay_schedule"] else full
            assert dropped == pytest.approx(decay, rel=1e-9), step


@pytest.mark.parametrize("schedule", ["linear", "poly", "cosine"])
def test_ends(schedule):
    assert lr_factor(0, 100, 10, schedule, 2.0, 0.1) == 0
    assert lr_factor(10, 100, 10, schedule, 2.0, 0.1) == 1
    assert lr_factor(100, 100, 10, schedule, 2.0, 0.1) == pytest.approx(0.1)
    assert lr_factor(0, 100, 0, schedule) == 1, "without warm-up the first update has the full rate"


def test_warmup_is_a_share_below_one_and_steps_above():
    assert warmup_steps(0.1, 55) == 5 and warmup_steps(0, 55) == 0 and warmup_steps(7, 55) == 7
