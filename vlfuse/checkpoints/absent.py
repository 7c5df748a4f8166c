"""What a foreign file does not hold and a model needs: the names of its answers, parts that start anew."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vlfuse.checkpoints.mapping import Report
from vlfuse.layers.mlp import init_normal
from vlfuse.systems.base import Model
from vlfuse.types import CheckpointError, ConfigError


def answer_labels(given: Mapping[str, Tensor], answers: Sequence[str] | None, report: Report) -> tuple[str, ...]:
    """The labels of the VQA classifier among renamed tensors: `answers`, or numbered ones, which the report notes.

    Raises CheckpointError when the classifier has no last layer, ConfigError when the answers are of another number.
    """
    last = given.get("heads.vqa.classifier.3.bias")
    if last is None:
        raise CheckpointError("the checkpoint has a vqa_classifier without its last layer, vqa_classifier.3")
    if answers is None:
        report.notes.append(
            f"the {len(last)} answers are named 'label 0' to 'label {len(last) - 1}': the file does not hold them; "
            "give them with --answers FILE, one a line in the classifier's order"
        )
        return tuple(f"label {i}" for i in range(len(last)))
    if len(answers) != len(last):
        raise ConfigError(f"{len(answers)} answers were given; the classifier has {len(last)}")
    return tuple(answers)


def start_anew(model: Model, part: str, given: dict[str, Tensor], report: Report, reason: str) -> None:
    """Initialise a part of a model on the meta device and add its tensors to `given`, as missing for this reason."""
    module = model.get_submodule(part).to_empty(device="cpu").apply(init_normal)
    for name, tensor in module.state_dict(prefix=f"{part}.").items():
        given[name] = tensor
        report.missing[name] = reason


def start_contrastive_anew(model: Model, parts: Sequence[str], given: dict[str, Tensor], report: Report) -> None:
    """Start anew what files without the contrastive loss lack, the temperature and `parts` of the system,
    and say so."""
    reason = "the file was trained without the contrastive loss, so this part starts anew"
    if "system.temperature" not in given:
        given["system.temperature"] = torch.tensor(0.07)
        report.missing["system.temperature"] = reason
    absent = [part for part in parts if not any(name.startswith(f"system.{part}.") for name in given)]
    for part in absent:
        start_anew(model, f"system.{part}", given, report, reason)
    if absent:
        report.notes.append("contrastive scores and embeddings of this model mean nothing until it is trained with itc")
