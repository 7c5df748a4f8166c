"""The learning rate over a run, as a pure function of the step."""

import math


def lr_factor(
    step: int, steps: int, warmup: int, schedule: str = "linear", power: float = 1.0, end: float = 0.0
) -> float:
    """What the learning rate of update number `step` (from 0) is multiplied by.

    Rises linearly from exactly 0 at step 0 to 1 at step `warmup`, then falls to `end` (a share of the full rate) at `steps`:
    "linear", "poly" (the remaining share to the `power`), or "cosine" (half a period); "constant" stays at 1.
    Past `steps`, linear and poly stay at `end`; the cosine goes on and rises again, as in the published schedule.
    Source: FIBER's training schedules, golden `fiber_coarse_optimizer`.
    """
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


def warmup_steps(warmup: float, steps: int) -> int:
    """Steps of warm-up: a share of the run below 1, a number of steps from 1 on."""
    return int(warmup * steps) if warmup < 1 else int(warmup)
