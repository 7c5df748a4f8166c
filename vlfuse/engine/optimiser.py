"""Parameter groups, and AdamW in today's and in the published arithmetic."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from vlfuse.checkpoints import bridgetower, fiber_coarse
from vlfuse.checkpoints.mapping import Drop, Rule, invert
from vlfuse.engine.run import Optim
from vlfuse.engine.schedule import decay_factor, lr_factor, warmup_steps
from vlfuse.systems.base import Model, Role, System
from vlfuse.systems.bridgetower import BridgeTower
from vlfuse.systems.fiber import Fiber
from vlfuse.types import ConfigError

# Parts of the official parameter names that decide about decay and role in FIBER and in BridgeTower (both after METER).
PUBLISHED_NO_DECAY = ("bias", "LayerNorm.weight", "norm.weight", "norm1.weight", "norm2.weight")
PUBLISHED_HEADS = (
    "vqa_classifier", "nlvr2_classifier", "mlm_score", "itm_score", "snli_classifier", "itc_text_head", "itc_image_head"
)  # fmt: skip
PUBLISHED_CROSS = ("cross_modal", "i2t", "t2i")


def published_role(official: str) -> tuple[Role, bool]:
    """Role and decay of a parameter by its official name (the six groups go by parts of the name)."""
    decay = not any(part in official for part in PUBLISHED_NO_DECAY)
    if any(part in official for part in PUBLISHED_HEADS):
        return "head", decay
    return ("cross" if any(part in official for part in PUBLISHED_CROSS) else "base"), decay


def official_rules(system: System) -> Sequence[Rule | Drop]:
    if isinstance(system, Fiber):
        return fiber_coarse.rules(system.config)
    if isinstance(system, BridgeTower):
        return bridgetower.rules()
    raise ConfigError(
        "optim.published is the arithmetic of FIBER and BridgeTower; this system is another, leave it off"
    )


def published_roles(model: Model) -> dict[str, tuple[Role, bool]]:
    """Roles and decay as the system was trained with; what has no official name keeps ours."""
    mapping = official_rules(model.system)
    roles = model.parameter_roles()
    for name in roles:
        official = next(iter(invert(name, mapping)), None)
        if official is not None:
            roles[name] = published_role(official)
    return roles


def fine_role(name: str) -> tuple[Role, bool]:
    """Role and decay as in FIBER's fine stage, by our name: tables and vectors that only their name makes a bias count
    as such."""
    if name.startswith("system.image."):
        role: Role = "image"
    elif name.startswith("system.text."):
        role = "base"
    else:
        role = "head" if name.startswith("heads.") else "cross"
    return role, "bias" not in name


def freeze(model: Model, optim: Optim) -> None:
    """Let the parameters that `optim.frozen` names stay as they are."""
    for start in optim.frozen:
        found = [parameter for name, parameter in model.named_parameters() if name.startswith(start)]
        if not found:
            raise ConfigError(
                f"optim.frozen names '{start}', with which no parameter begins; one is {next(iter(model.state_dict()))}"
            )
        for parameter in found:
            parameter.requires_grad_(False)


def parameter_groups(model: Model, optim: Optim) -> list[dict[str, Any]]:
    """Every parameter in exactly one group: {"params", "names", "lr", "weight_decay", "role", "base_lr", "base_decay"}.

    `lr` and `weight_decay` are changed by the schedule, the others stay.
    """
    roles = published_roles(model) if optim.published else model.parameter_roles()
    if optim.doubled_biases:
        roles = {name: fine_role(name) for name in roles}
    parameters = dict(model.named_parameters())
    if roles.keys() != parameters.keys():
        raise ConfigError(
            f"parameters without a role, or roles without parameter: {sorted(roles.keys() ^ parameters.keys())}"
        )
    multiplier = {
        "base": 1.0,
        "image": optim.image_multiplier,
        "head": optim.head_multiplier,
        "cross": optim.cross_multiplier,
    }
    groups = []
    for role, factor in multiplier.items():
        for decay in (True, False):
            names = [name for name, of in roles.items() if of == (role, decay) and parameters[name].requires_grad]
            if names:
                lr = optim.lr * factor * (2 if optim.doubled_biases and not decay else 1)
                weight_decay = optim.weight_decay if decay else 0.0
                groups.append(
                    {
                        "params": [parameters[name] for name in names],
                        "names": names,
                        "role": role,
                        "lr": lr,
                        "base_lr": lr,
                        "weight_decay": weight_decay,
                        "base_decay": weight_decay,
                    }
                )
    return groups


def build_optimiser(model: Model, optim: Optim) -> Optimizer:
    groups = parameter_groups(model, optim)
    if optim.published:
        return PublishedAdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps)
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=fused)


def set_lr(optimiser: Optimizer, optim: Optim, step: int, steps: int) -> float:
    """Set the rates (and decays, where they drop) for update number `step` (from 0) and return the base rate."""
    factor = lr_factor(
        step, steps, warmup_steps(optim.warmup, steps), optim.schedule, optim.power, optim.end_lr / optim.lr
    )
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
        if optim.decay_drops:
            group["weight_decay"] = group["base_decay"] * decay_factor(step, steps)
    return optim.lr * factor


class PublishedAdamW(Optimizer):
    """AdamW as FIBER and BridgeTower were trained with: epsilon is added before the second moment's bias is corrected,
    and the decay comes after the update and takes from the updated weight. Bias correction is on. Source: goldens
    `fiber_coarse_optimizer`, `bridgetower_vqa`."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-8, weight_decay: float = 0.0):  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        count, (beta1, beta2), lr = int(state["step"]), group["betas"], group["lr"]
        state["exp_avg"].lerp_(parameter.grad, 1 - beta1)  # type: ignore[arg-type]
        state["exp_avg_sq"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)  # type: ignore[arg-type]
        size = lr * (1 - beta2**count) ** 0.5 / (1 - beta1**count)
        parameter.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-size)
        if group["weight_decay"]:
            parameter.mul_(1 - lr * group["weight_decay"])
