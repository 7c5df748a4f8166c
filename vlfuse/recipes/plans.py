"""How each system is fine-tuned for each task: the published hyper-parameters,
and those for small models and little data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True)
class Plan:
    """`texts` of each of `batch_size` samples make a batch; an epoch sees as many texts as there are."""

    batch_size: int
    texts: int
    epochs: int
    head_multiplier: float
    image_size: int = 0  # 0: the model's own
    max_text: int = 0
    augment: Literal["none", "crop", "randaugment", "randaugment-mild", "randaugment-pil"] = "none"
    lr: float = 0.0  # 0: that of the model's size
    weight_decay: float = 0.01
    warmup: float = 0.1
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the head, unless it is trained already


def fiber(batch_size: int, epochs: int, image_size: int, head_multiplier: float = 50.0) -> Plan:
    return Plan(batch_size, 1, epochs, head_multiplier, image_size, max_text=50, augment="randaugment")


# As published, but for the mirror: there half of the pictures are mirrored though texts name sides (`--sources.0.flip`
# does so). Entailment and single statements have no published plan; that of pairs serves.
FIBER = {
    "vqa": fiber(512, 10, image_size=576),
    "nlvr2": fiber(256, 5, image_size=384),
    "nlvr": fiber(256, 5, image_size=384),
    "entailment": fiber(256, 5, image_size=384),
    "caption": fiber(512, 10, image_size=576, head_multiplier=5.0),
    "itc": fiber(1024, 10, image_size=576, head_multiplier=5.0),
    "itm": fiber(1024, 10, image_size=384, head_multiplier=5.0),
}


def bridgetower(
    batch_size: int, epochs: int, lr: float, head_multiplier: float, warmup: float, weight_decay: float = 0.01,
    image_size: int = 384, max_text: int = 50, augment: Any = "randaugment-pil", settings: Mapping[str, Any] = MappingProxyType({}),
) -> Plan:  # fmt: skip
    return Plan(
        batch_size, 1, epochs, head_multiplier, image_size, max_text, augment, lr, weight_decay, warmup, settings
    )


# The published scripts (there all but questions mirror half of the pictures). Retrieval as for Flickr30k. Single
# statements have no published plan; that of entailment serves.
BRIDGETOWER = {
    "vqa": bridgetower(
        512, 10, 1e-5, 50, 0.06, 0.05, image_size=576, augment="randaugment-mild", settings={"scale": 2.0}
    ),
    "nlvr2": bridgetower(64, 10, 5e-6, 10, 0.1, 0.008, settings={"scale": 1.5, "dropout": 0.1}),
    "nlvr": bridgetower(64, 5, 3e-6, 10, 0.06, settings={"scale": 2.0}),
    "entailment": bridgetower(64, 5, 3e-6, 10, 0.06, settings={"scale": 2.0}),
    "itc": bridgetower(512, 20, 5e-6, 5, 0.05, max_text=40),
    "itm": bridgetower(2048, 20, 1.1e-5, 5, 0.1, max_text=40, settings={"negatives": "texts", "false_texts": 15}),
}
# Published for questions alone; for the rest the side is the nearest below that patches of 14 pixels tile.
LARGE_PATCH = 14
LARGE = {
    name: replace(plan, image_size=plan.image_size // LARGE_PATCH * LARGE_PATCH) for name, plan in BRIDGETOWER.items()
}
LARGE["vqa"] = replace(LARGE["vqa"], lr=4e-6)

PUBLISHED: dict[str, dict[str, Plan]] = {"fiber": FIBER, "bridgetower": BRIDGETOWER, "bridgetower-large": LARGE}

# For small models and little data. The picture stays whole, for generated questions ask about places.
SMALL = {
    "vqa": Plan(64, 6, 15, 1.0),
    "nlvr2": Plan(32, 2, 15, 1.0),
    "nlvr": Plan(64, 2, 15, 1.0),
    "entailment": Plan(64, 2, 15, 1.0),
    "caption": Plan(32, 1, 15, 1.0),
    "itc": Plan(64, 1, 15, 1.0),
    "itm": Plan(64, 1, 15, 1.0),
}
