"""Building FIBER's detector, or its head alone, from the weights of a golden file."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tests.golden.vectors import Vectors
from vlfuse.checkpoints.fiber_fine import STEM, import_fiber_fine, rules
from vlfuse.checkpoints.mapping import Report, Target, rename, resolve
from vlfuse.layers.regions import RegionScores, flat
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.types import Images, Objects, Tokens

CONFIG = FiberConfig()  # only for the names of keys


def detector_of(golden: Vectors) -> Model:
    model, _ = import_fiber_fine(golden.get("state/"), text_heads=golden.meta["config"]["text_heads"])
    return model


def place(
    module: torch.nn.Module, state: Mapping[str, Tensor], theirs: str = "", ours: str = "", **counts: int
) -> None:
    """Load a part's own keys; theirs and ours are the prefixes that make them keys of the whole model."""
    report = Report()
    tensors = rename({theirs + key: tensor for key, tensor in state.items()}, rules(CONFIG, **counts), report)
    assert not report.unknown, f"keys without a rule: {report.unknown}"
    module.load_state_dict({name.removeprefix(ours): tensor for name, tensor in tensors.items()})


def gradient_of(model: Model, key: str) -> Tensor:
    """The gradient of our parameter that the official key names."""
    system, levels = model.system, model.head("grounding").settings()["levels"]
    assert isinstance(system, Fiber)
    target = resolve(key, rules(system.config, levels))
    assert isinstance(target, Target), f"{key} has no place in our model"
    gradient = model.get_parameter(target.name).grad
    assert gradient is not None, f"{target.name} got no gradient"
    return target.of(gradient.flip(1) if target.name == STEM else gradient)


def images_of(golden: Vectors) -> Images:
    """The recordings read BGR, our models RGB."""
    return Images(golden["in/images"].flip(1), golden["in/image_sizes"])


def tokens_of(golden: Vectors) -> Tokens:
    return Tokens(golden["in/input_ids"], golden["in/attention_mask"].bool())


def objects_of(golden: Vectors) -> Objects:
    boxes = list(per_number(golden, "in/gt_boxes"))
    text = torch.cat([torch.full((len(b),), i) for i, b in enumerate(boxes)])
    return Objects(torch.cat(boxes), golden["in/positive_map"], text)


def per_number(golden: Vectors, prefix: str) -> list[Tensor]:
    found = golden.get(prefix)
    return [found[str(i)] for i in range(len(found))]


def scores_of(golden: Vectors, prefix: str = "in/") -> tuple[RegionScores, list[Tensor]]:
    """Recorded outputs of a head, and the tensors level by level that gradients are recorded for."""
    boxes, centerness, tokens = (
        [x.clone().requires_grad_() for x in per_number(golden, f"{prefix}{name}_level")]
        for name in ("bbox", "centerness", "token_logits")
    )
    scores = RegionScores(
        torch.cat([flat(x) for x in boxes], dim=1),
        torch.cat([flat(x) for x in centerness], dim=1).squeeze(-1),
        torch.cat(tokens, dim=1),
        tuple((x.shape[2], x.shape[3]) for x in boxes),
    )
    return scores, [*boxes, *centerness, *tokens]


def label_map(labels: Mapping[str, Any], tokens: int) -> tuple[Tensor, list[int]]:
    """[L, T] and the recorded number of each of its rows."""
    rows = torch.zeros(len(labels), tokens)
    for row, places in zip(rows, labels.values(), strict=True):
        row[list(places)] = 1.0 / len(places)
    return rows, [int(label) for label in labels]
