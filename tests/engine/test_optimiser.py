"""Parameter groups and AdamW, ours and as published."""

import json

import pytest
import torch

from tests.engine.stub import stub_model
from tests.golden.fiber import images_of, model_of, tokens_of
from tests.golden.vectors import load, vectors
from vlfuse.checkpoints.fiber_coarse import rules
from vlfuse.checkpoints.fiber_fine import rules as fine_rules
from vlfuse.checkpoints.mapping import Drop, Target, resolve
from vlfuse.engine.optimiser import (
    PublishedAdamW,
    build_optimiser,
    freeze,
    parameter_groups,
    published_role,
    set_lr,
)
from vlfuse.engine.run import Optim
from vlfuse.objectives.grounding import Grounding
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.types import Batch, ConfigError, Texts

ROLES = {"base": "base", "head": "head", "crossmodal": "cross"}


def test_every_parameter_is_in_exactly_one_group():
    model = stub_model()
    groups = parameter_groups(model, Optim(lr=1.0, head_multiplier=3.0, cross_multiplier=2.0))
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(dict(model.named_parameters()))
    found = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}
    assert found["system.image.weight"] == (1.0, 0.01) and found["system.image.bias"] == (1.0, 0.0)
    assert found["system.join.weight"] == (2.0, 0.01) and found["heads.guess.classifier.weight"] == (3.0, 0.01)


def test_frozen_parameters_are_left_out():
    model = stub_model()
    model.system.image.requires_grad_(False)
    names = [name for group in parameter_groups(model, Optim()) for name in group["names"]]
    assert not any(name.startswith("system.image") for name in names)


def test_the_published_groups_are_fibers_alone():
    with pytest.raises(ConfigError, match="another"):
        parameter_groups(stub_model(), Optim(published=True))


@pytest.mark.parametrize("path", vectors("keys_fiber_coarse_*.json"))
def test_published_groups_by_name(path):
    for variant in json.loads(path.read_text())["variants"].values():
        for name, entry in variant["keys"].items():
            if entry["kind"] == "parameter" and entry.get("group"):
                role, decay = published_role(name)
                kind, _, decays = entry["group"].partition("_")
                assert (role, decay) == (ROLES[kind], decays == "decay"), name


@pytest.mark.parametrize("path", vectors("fiber_fine_optimizer_groups*.json"))
def test_groups_of_the_fine_stage(path):
    """Rate and decay of every parameter, and which stay frozen, by the names of the published detectors."""
    for recorded in load(path).meta["configs"].values():
        given, official = recorded["config"], {name: (lr, decay) for name, lr, decay in recorded["groups"]}
        query_norm = any("norm_i2t_i" in name for name in official)
        with torch.device("meta"):
            system = Fiber(FiberConfig(query_norm=query_norm))
            model = Model(system, {"grounding": Grounding(system)})
        frozen = ("system.image.patch_embed.", "system.image.stages.0.") if recorded["freeze_conv_body_at"] == 2 else ()
        share = given["BASE_LR"] / given["LANG_LR"]
        optim = Optim(lr=given["LANG_LR"], weight_decay=given["WEIGHT_DECAY"], image_multiplier=share, head_multiplier=share, doubled_biases=True, frozen=frozen)  # fmt: skip
        freeze(model, optim)
        found = {n: (g["lr"], g["weight_decay"]) for g in parameter_groups(model, optim) for n in g["names"]}
        mapping = fine_rules(system.config)
        for name, expected in official.items():
            target = resolve(name, mapping)
            assert isinstance(target, Target), name
            assert found[target.name] == pytest.approx(expected), name
        for name in recorded["frozen"]:
            target = resolve(name, mapping)
            assert isinstance(target, Drop) or target.name not in found, name


def test_what_nothing_begins_with_cannot_be_frozen():
    with pytest.raises(ConfigError, match="no parameter begins"):
        freeze(stub_model(), Optim(frozen=("system.imag.",)))


@pytest.mark.parametrize("path", vectors("fiber_coarse_optimizer*.json"))
def test_updates_equal_the_recorded(path):
    """Loss, rates and parameters over the recorded steps: published groups, schedule and arithmetic together."""
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).train()
    optim = Optim(lr=1e-3, head_multiplier=50, cross_multiplier=5, published=True)
    optimiser = build_optimiser(model, optim)
    assert isinstance(optimiser, PublishedAdamW)
    tokens = tokens_of(golden["in/text_ids"], golden["in/text_masks"])
    target = torch.zeros(2, golden.meta["config"]["vqav2_label_size"])
    target[0, 1], target[1, 2], target[1, 3] = 1.0, 0.6, 0.3
    batch = Batch(images_of(golden["in/image"]), questions=Texts(tokens, torch.arange(2), target=target))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    mapping = rules(model.system.config)  # type: ignore[arg-type]
    for step, expected in enumerate(golden["out/losses"]):
        set_lr(optimiser, optim, step, 20)
        rates = {group["role"]: group["lr"] for group in optimiser.param_groups}
        recorded = golden["out/lrs_used"][step].tolist()
        assert [rates["base"], rates["head"], rates["cross"]] == pytest.approx(recorded[::2], rel=1e-6)
        optimiser.zero_grad()
        loss = model(batch, ("vqa",))["vqa"]["loss"]
        noise = golden.meta["fp32_noise_vs_fp64"]["out/losses"]
        assert float(loss.detach()) == pytest.approx(float(expected), abs=4 * noise, rel=1e-5)
        loss.backward()
        if step == 0:
            tiny = {n: p.grad.abs() < 1e-6 for n, p in model.named_parameters() if p.grad is not None}
        optimiser.step()
        for key, value in golden.get(f"out/step{step + 1}.").items():
            target_of = resolve(key, mapping)
            assert isinstance(target_of, Target)
            ours = target_of.of(model.get_parameter(target_of.name).detach())
            # Where the gradient is all but zero, Adam's normalised update is the sign of rounding noise.
            settled = (
                ~target_of.of(tiny[target_of.name])
                if target_of.name in tiny
                else torch.ones_like(value, dtype=torch.bool)
            )
            moved = (value - target_of.of(before[target_of.name])).abs()
            noise = golden.meta["fp32_noise_vs_fp64"].get(f"out/step{step + 1}.{key}", 0.0)
            off = (ours - value).abs() - 1e-3 * moved - max(2e-5, 4 * noise)
            assert not (off[settled] > 0).any(), (
                f"step {step + 1}: {key} is off by {float((ours - value).abs()[settled].max())}"
            )


def test_published_arithmetic_by_hand():
    """One update of a scalar: epsilon joins before the bias correction, decay takes from the updated weight."""
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimiser = PublishedAdamW([weight], lr=0.1, betas=(0.9, 0.98), eps=0.5, weight_decay=0.1)
    weight.grad = torch.tensor([3.0])
    optimiser.step()
    first, second = 0.1 * 3.0, 0.02 * 9.0
    size = 0.1 * (1 - 0.98) ** 0.5 / (1 - 0.9)
    updated = 2.0 - size * first / (second**0.5 + 0.5)
    assert float(weight.detach()) == pytest.approx(updated * (1 - 0.1 * 0.1), rel=1e-6)
