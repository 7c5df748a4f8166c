"""BridgeTower's published groups, schedules and updates."""

import json
from pathlib import Path

import pytest
import torch

from tests.golden.bridgetower import model_of
from tests.golden.fiber import batch_of, texts_of
from tests.golden.vectors import load, vectors
from vlfuse.checkpoints.bridgetower import rules
from vlfuse.checkpoints.mapping import Target, resolve
from vlfuse.engine.optimiser import PublishedAdamW, build_optimiser, parameter_groups, published_role, set_lr
from vlfuse.engine.run import Optim
from vlfuse.engine.schedule import lr_factor, warmup_steps
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Head, Model
from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig
from vlfuse.tasks import TASKS

HEADS = {"mlm_score": "mlm", "itm_score": "itm", "vqa_classifier": "vqa", "nlvr2_classifier": "nlvr2", "snli_classifier": "entailment"}  # fmt: skip


def base_model(official: list[str]) -> Model:
    """BridgeTower-Base without memory, with the heads that the official names speak of."""
    kinds: dict[str, type[Head]] = {**OBJECTIVES, **TASKS}
    with torch.device("meta"):
        system = BridgeTower(BridgeTowerConfig())
        names = [ours for theirs, ours in HEADS.items() if any(name.startswith(theirs) for name in official)]
        return Model(system, {n: kinds[n](system, ("a", "b")) if n == "vqa" else kinds[n](system) for n in names})


@pytest.mark.parametrize("path", vectors("bridgetower_param_groups*.json"))
def test_every_parameter_of_the_base_model_is_in_its_published_group(path: Path):
    for task, given in json.loads(path.read_text())["tasks"].items():
        settings = given["settings"]
        optim = Optim(
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            head_multiplier=settings["lr_mult_head"],
            cross_multiplier=settings["lr_mult_cross_modal"],
            published=True,
        )
        model = base_model([name for group in given["groups"] for name in group["params"]])
        ours = {n: (g["lr"], g["weight_decay"]) for g in parameter_groups(model, optim) for n in g["names"]}
        met = set()
        for group in given["groups"]:
            for name in group["params"]:
                target = resolve(name, rules())
                if not isinstance(target, Target) or target.name not in ours:
                    assert name.startswith(
                        ("vit_model.positional", "vit_model.ln_final", "text_transformer.pooler", "rank_")
                    )
                    continue
                met.add(target.name)
                assert ours[target.name] == pytest.approx((group["lr"], group["weight_decay"])), f"{task}: {name}"
        assert all("_projection" in name for name in ours.keys() - met), f"{task}: {ours.keys() - met}"


@pytest.mark.parametrize("path", vectors("bridgetower_schedule*.json"))
def test_schedules_equal_the_recorded(path: Path):
    for case in json.loads(path.read_text())["cases"]:
        warmup = warmup_steps(case["warmup"], case["max_steps"])
        assert warmup == case["warmup_steps"]
        cosine = case["power"] == "cosine"
        schedule, power = ("cosine", 1.0) if cosine else ("poly", float(case["power"]))
        full = case["lr"][warmup]
        for step, rate in enumerate(case["lr"]):
            factor = lr_factor(step, case["max_steps"], warmup, schedule, power, case["end_lr"] / full)
            assert factor * full == pytest.approx(rate, abs=1e-12 * full + 1e-18)


@pytest.mark.parametrize("path", vectors("bridgetower_vqa.json", "bridgetower_vqa_[!a]*.json"))
def test_updates_equal_the_recorded(path: Path):
    """Losses, rates and parameters over the recorded steps: published groups, schedule and arithmetic together."""
    golden = load(path)
    model = model_of(golden).train()
    given, config = golden.meta["optimizer"], golden.meta["config"]
    optim = Optim(
        lr=config["learning_rate"],
        weight_decay=config["weight_decay"],
        head_multiplier=config["lr_mult_head"],
        cross_multiplier=config["lr_mult_cross_modal"],
        warmup=given["warmup_steps"],
        published=True,
    )
    optimiser = build_optimiser(model, optim)
    assert isinstance(optimiser, PublishedAdamW)
    batch = batch_of(golden["in/image"], questions=texts_of(golden, target=golden["in/vqa_targets"]))
    for step, (loss_before, rates) in enumerate(
        zip(golden.meta["loss_per_step"], given["lr_per_step_per_group"], strict=True)
    ):
        set_lr(optimiser, optim, step, given["max_steps"])
        found = {group["role"]: group["lr"] for group in optimiser.param_groups}
        assert [found["base"], found["head"], found["cross"]] == pytest.approx(rates[::2], rel=1e-6)
        assert found["image"] == found["base"] if "image" in found else True
        optimiser.zero_grad()
        loss = model(batch, ("vqa",))["vqa"]["loss"]
        noise = abs(loss_before - golden.meta["loss_per_step_perturbed_start"][step])
        assert loss.item() == pytest.approx(loss_before, rel=1e-5, abs=4 * noise)
        loss.backward()
        optimiser.step()
    sensitive = golden.meta["sensitivity_max_mean_abs_change_for_1e-7_relative_start_noise"]
    for key, expected in golden.get("out/after_5_steps/").items():
        target = resolve(key, rules())
        if not isinstance(target, Target):
            continue  # unused there, absent here
        ours = target.of(model.get_parameter(target.name).detach())
        ours = ours[: len(expected)] if expected.ndim else ours
        # Where a gradient is all but zero, the update is the sign of rounding noise: the recording measured how far that goes.
        most, mean = sensitive[key]
        off = (ours - expected).abs()
        assert off.mean() < 2e-6 + 4 * mean and off.max() < 2e-5 + 4 * most, f"{key} is off by {off.max():.2g}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_model.visual.ln_post.weight", ("base", True)),
        ("cross_modal_text_layernorm.weight", ("cross", False)),
        ("itc_image_head.fc.weight", ("head", True)),
        ("token_type_embeddings.weight", ("base", True)),
        ("temperature", ("base", True)),
    ],
)
def test_quirks_of_the_published_groups(name, expected):
    assert published_role(name) == expected
