"""The learning rate over a run, as a pure function of the step."""

import math

DROPS, DROP = (0.67, 0.89), 0.1  # of schedule "steps": when, as shares of the run, and to what part of the rate each
DECAY_DROPS = 0.667  # the weight decay drops at these shares of the times of DROPS
FIRST = 0.001  # share of the rate at which the warm-up of schedule "steps" begins


def lr_factor(
    step: int, steps: int, warmup: int, schedule: str = "linear", power: float = 1.0, end: float = 0.0
) -> float:
    """What the learning rate of update number `step` (from 0) is multiplied by.

    Rises linearly from exactly 0 at step 0 to 1 at step `warmup`, then falls to `end` (a share of the full rate) at
    `steps`: "linear", "poly" (the remaining share to the `power`), or "cosine" (half a period); "constant" stays at 1.
    "steps" rises from 0.001 and drops to a tenth at 67 % and again at 89 % of the run, as FIBER's fine stage.
    Past `steps`, linear and poly stay at `end`; the cosine goes on and rises again, as in the published schedule.
    Source: FIBER's training schedules, golden `fiber_coarse_optimizer`, `fiber_fine_lr_schedule`.
    """
    if schedule == "steps":
        rise = FIRST + (1 - FIRST) * step / warmup if step < warmup else 1.0
        return rise * DROP ** sum(step >= round(share * steps) for share in DROPS)
    if step < warmup:
        return step / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    if schedule == "cosine":
        left = max(0.0, (1 + math.cos(math.pi * progress)) / 2)
    else:
        left = max(0.0, 1 - progress) ** (power if schedule == "poly" else 1.0)
    return end + (1 - end) * left


def decay_factor(step: int, steps: int) -> float:
    """What the weight decay of update number `step` is multiplied by where it drops as published
    for FIBER's fine stage."""
    return DROP ** sum(step >= DECAY_DROPS * round(share * steps) for share in DROPS)


def warmup_steps(warmup: float, steps: int) -> int:
    """Steps of warm-up: a share of the run below 1, a number of steps from 1 on."""
    return int(warmup * steps) if warmup < 1 else int(warmup)
