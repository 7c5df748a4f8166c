"""A small model with a head for regions, and scenes to evaluate it on."""

from dataclasses import replace

import torch

from tests.micro import micro_size
from vlfuse.data.classes import class_names
from vlfuse.data.collate import ALL
from vlfuse.data.grounding import GroundingCollate
from vlfuse.data.loader import Loader
from vlfuse.data.scaling import ScaleTransform
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.distributed import World
from vlfuse.engine.evaluate_regions import detection, grounding, referring
from vlfuse.objectives.grounding import Grounding
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber

SIDE = 48  # of the pictures that the model sees
SCENES = SceneDataset(5, size=64)
NAMES = class_names(SCENES)
TOKENIZER = Tokenizer.load("scenes")


def micro() -> Model:
    torch.manual_seed(0)
    system = Fiber(replace(micro_size().config, gate=0.3, image_gate=0.3))
    return Model(system, {"grounding": Grounding(system, width=32, blocks=1, levels=3, anchor_scale=4.0)}).eval()


def loader(reads, dataset=SCENES, world=None) -> Loader:
    world = world or World()
    collate = GroundingCollate(TOKENIZER, ScaleTransform((SIDE,), SIDE), 40, reads, ALL)
    return Loader(dataset, collate, 2, shuffle=False, rank=world.rank, world_size=world.size)


def scores_of(model: Model, world: World) -> dict[str, dict[str, float]]:
    return {
        "detection": detection(model, loader("expressions", world=world), world, TOKENIZER, 40, NAMES),
        "grounding": grounding(model, loader("phrases", world=world), world, TOKENIZER, 40),
        "referring": referring(model, loader("expressions", world=world), world, TOKENIZER, 40),
    }
