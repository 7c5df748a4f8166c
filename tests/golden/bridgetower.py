"""Building our BridgeTower from the configuration and weights of a golden file, and comparing its insides and gradients."""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.golden.vectors import NUMBER, Tolerance, Vectors, assert_close
from vlfuse.checkpoints.bridgetower import (
    assemble,
    from_official_labels,
    infer_config,
    official_heads,
    rules,
)
from vlfuse.checkpoints.mapping import Report, Target, rename, resolve
from vlfuse.systems.base import Model
from vlfuse.systems.bridgetower import BridgeTowerConfig


def config_of(meta: dict[str, Any], state: dict[str, Tensor]) -> BridgeTowerConfig:
    given = meta["config"]
    text_heads = given["text_heads"] if "text_heads" in given else given["text_encoder"]["num_attention_heads"]
    config = infer_config(state, text_heads, given["num_heads"])
    assert (config.layers, config.width, config.image.image_size) == (
        given["num_layers"],
        given["hidden_size"],
        given["image_size"],
    )
    rate = given["drop_rate"]
    return replace(config, dropout=rate, text=replace(config.text, dropout=rate))


def model_of(golden: Vectors) -> Model:
    """The model with every official tensor in its place, and the heads for which there are tensors."""
    state = golden.get("state/")
    report = Report()
    given = rename(state, rules(), report)
    assert not report.unknown, f"keys without a rule: {report.unknown}"
    from_official_labels(given)
    answers = tuple(str(i) for i in range(golden.meta["config"]["vqav2_label_size"]))
    heads = official_heads(given, answers if "heads.vqa.classifier.3.bias" in given else None, report)
    if "nlvr2" in heads:
        heads["nlvr2"]["dropout"] = golden.meta["config"]["nlvr2_drop_rate"]
    return assemble(config_of(golden.meta, state), given, heads, report, golden.path.name)


def stated(golden: Vectors) -> Tolerance:
    """The absolute tolerance of outputs: where the file words it otherwise ("logits/loss 5e-5"), its first number."""
    if golden.tolerance != Tolerance():
        return golden.tolerance
    number = re.search(NUMBER, golden.meta["tolerance"])
    return Tolerance(float(number[1]) if number else 0.0)


def official_gradient(model: Model, key: str) -> Tensor:
    """The gradient of our parameter that the official key names (its rows of it, where ours holds more), in the official order."""
    target = resolve(key, rules())
    assert isinstance(target, Target), f"{key} has no place in our model"
    gradient = model.get_parameter(target.name).grad
    assert gradient is not None, f"{target.name} got no gradient"
    gradient = target.of(gradient)
    return gradient.flip(0) if key.startswith("snli_classifier.3.") else gradient


def assert_gradients(golden: Vectors, model: Model, prefix: str = "grad/", norms: str = "grad_norms", idle: str = "params_without_grad") -> None:  # fmt: skip
    """Every recorded gradient, the norm of every other one, and that nothing else learns.

    As stated: 1e-4 of the tensor's largest value, beside the absolute tolerance of the file.
    """
    for key, expected in golden.get(prefix).items():
        found = official_gradient(model, key)[: len(expected)] if expected.ndim else official_gradient(model, key)
        tolerance = Tolerance(stated(golden).atol + 1e-4 * float(expected.abs().max()))
        assert_close(found, expected, tolerance, prefix + key)
    for key, expected in golden.meta.get(norms, {}).items():
        found = official_gradient(model, key).norm()
        assert_close(found, torch.tensor(expected), Tolerance(stated(golden).atol, 5e-4), f"norm of grad/{key}")
    for key in golden.meta.get(idle, ()):
        target = resolve(key, rules())
        if isinstance(target, Target):
            gradient = model.get_parameter(target.name).grad
            assert gradient is None or not gradient.any(), f"{key} is not part of this loss, yet learns from it"
