"""Recipes: functions that return a whole training run, read from top to bottom."""

from vlfuse.recipes.bridgetower import bridgetower, bridgetower_nano
from vlfuse.recipes.fine import detection, fiber_fine, grounding, referring
from vlfuse.recipes.finetune import caption, entailment, nlvr, nlvr2, retrieval, vqa
from vlfuse.recipes.nano import fiber_nano, fiber_nano_fine, fiber_nano_last, fiber_nano_more
from vlfuse.recipes.pretrain import fiber_coarse

RECIPES = {
    "fiber-coarse": fiber_coarse,
    "fiber-nano": fiber_nano,
    "fiber-nano-fine": fiber_nano_fine,
    "fiber-nano-more": fiber_nano_more,
    "fiber-nano-last": fiber_nano_last,
    "bridgetower": bridgetower,
    "bridgetower-nano": bridgetower_nano,
    "vqa": vqa,
    "nlvr2": nlvr2,
    "nlvr": nlvr,
    "entailment": entailment,
    "caption": caption,
    "retrieval": retrieval,
    "fiber-fine": fiber_fine,
    "detection": detection,
    "grounding": grounding,
    "referring": referring,
}
