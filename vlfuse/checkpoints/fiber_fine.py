"""FIBER's published fine-stage checkpoints (detectors of microsoft/FIBER) as a model with the head `grounding`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vlfuse.checkpoints import roberta, swin
from vlfuse.checkpoints.absent import start_anew
from vlfuse.checkpoints.fiber_coarse import image_fusion, infer_backbones, text_fusion
from vlfuse.checkpoints.mapping import Drop, Report, Rule, rename, require_fit, require_known
from vlfuse.objectives.grounding import Grounding
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.types import CheckpointError

BODY, LANGUAGE = "fusion_backbone.backbone.body.", "fusion_backbone.language_backbone.body.model."
STEM = "system.image.patch_embed.proj.weight"
DROP_PATH, DROP_BLOCK = 0.4, 0.3  # published; they leave no trace in the weights
# Parts of the coarse stage that a detector does without.
COARSE = ("image.norm", *(f"{side}_{part}{end}" for side in ("image", "text") for part in ("transform", "pooler") for end in ("", "_itc")))  # fmt: skip


def rules(config: FiberConfig, levels: int = 5) -> list[Rule | Drop]:
    """Every key of the published detectors for a model of this configuration; levels: of its pyramid."""
    image, text = re.escape(BODY), re.escape(LANGUAGE)
    fused = "|".join(str(layer) for layer in range(config.text.layers - config.fuse_last, config.text.layers))
    return [
        *swin.rules(image, "system.image.", len(config.swin.depths)),
        *image_fusion(image + swin.BLOCK + r"attn\."),
        *roberta.rules(text, "system.text."),
        *text_fusion(text + roberta.LAYER, text + roberta.LAYER.replace(r"(\d+)", f"({fused})")),
        *_pyramid(image),
        *_head(levels),
        Drop(r"rpn\.head\.cls_logits\..+", "never trained: its loss is multiplied by zero"),
        Drop(r"rpn\.anchor_generator\.cell_anchors\.\d+", "computed from the grid when needed"),
    ]


def _pyramid(image: str) -> list[Rule | Drop]:
    fpn, ours = r"fusion_backbone\.backbone\.fpn\.", "heads.grounding.pyramid."
    found: list[Rule | Drop] = []
    for i in range(3):
        found += [
            Rule(image + rf"norm{i + 1}\.(.+)", rf"heads.grounding.norms.{i}.\1"),
            Rule(fpn + rf"fpn_inner{i + 2}\.(.+)", rf"{ours}lateral.{i}.\1"),
            Rule(fpn + rf"fpn_layer{i + 2}\.(.+)", rf"{ours}output.{i}.\1"),
        ]
    return found + [Rule(fpn + rf"top_blocks\.p{i + 6}\.(.+)", rf"{ours}extra.{i}.\1") for i in range(2)]


def _head(levels: int) -> list[Rule | Drop]:
    head, ours = r"rpn\.head\.", "heads.grounding.predictor."
    theirs, block = head + r"dyhead_tower\.(\d+)\.", rf"{ours}tower.\1."
    found: list[Rule | Drop] = []
    for i, name in enumerate(("coarser", "same", "finer")):
        found += [
            Rule(theirs + rf"DyConv\.{i}\.conv\.(.+)", rf"{block}{name}.\2"),
            Rule(theirs + rf"DyConv\.{i}\.bn\.(.+)", rf"{block}{name}.norm.\2"),
        ]
    found += [
        Rule(theirs + r"offset\.(.+)", block + r"offset.\2"),
        Rule(theirs + r"AttnConv\.1\.(.+)", block + r"scale.\2"),
        Rule(theirs + r"relu\.fc\.0\.(.+)", block + r"relu.fc1.\2"),
        Rule(theirs + r"relu\.fc\.2\.(.+)", block + r"relu.fc2.\2"),
        Rule(head + r"bbox_pred\.(.+)", ours + r"box.\1"),
        Rule(head + r"centerness\.(.+)", ours + r"centerness.\1"),
        *[Rule(head + rf"scales\.{i}\.scale", ours + "scales", i, levels) for i in range(levels)],
        Rule(head + r"dot_product_projection_text\.(.+)", ours + r"align.project.\1"),
        Rule(head + "log_scale", ours + "align.log_scale"),
        Rule(head + "bias_lang", ours + "align.token_bias"),
        Rule(head + "bias0", ours + "align.bias"),
    ]
    return found


def import_fiber_fine(tensors: Mapping[str, Tensor], text_heads: int | None = None) -> tuple[Model, Report]:
    """Our model with the head `grounding` from the tensors of a published detector, of either fusion variant.

    The published detectors read pictures as BGR. The stem's input channels are reversed instead, so that the model
    reads RGB in the normalisation of every other. Their remaining quirks stay switched on: see
    `Grounding(published=True)` and `attend_padding`. text_heads: attention heads of the text encoder where its width is
    not a multiple of RoBERTa's 64 a head.

    Raises CheckpointError on a key without a place, a tensor that is missing without good reason,
    or shapes that make no FIBER.
    """
    settings, config = infer_head(tensors), infer_config(tensors, text_heads)
    report = Report()
    given = rename(tensors, rules(config, settings["levels"]), report)
    require_known(report, "the checkpoint")
    given = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    if STEM in given:
        given[STEM] = given[STEM].flip(1)
        report.notes.append("the stem's input channels were reversed: the file reads BGR, the model RGB")
    with torch.device("meta"):
        system = Fiber(config)
        model = Model(system, {"grounding": Grounding(system, **settings)})
    for part in COARSE:
        start_anew(model, f"system.{part}", given, report, "detectors do without this part of the coarse stage")
    given["system.temperature"] = torch.tensor(0.07)
    report.missing["system.temperature"] = "detectors do without this part of the coarse stage"
    require_fit(model.state_dict(), given, "the checkpoint")
    model.load_state_dict(given, assign=True)
    return model.eval(), report


def infer_config(tensors: Mapping[str, Tensor], text_heads: int | None = None) -> FiberConfig:
    """The configuration of a detector's tensors; the variant ("v3")
    with norms of the image query is told by their presence."""
    image, text, fuse_last = infer_backbones(tensors, BODY, LANGUAGE, text_heads)
    image = replace(image, drop_path=DROP_PATH, attend_padding=True)
    query_norm = any(".norm_i2t_i." in key for key in tensors)
    return FiberConfig(image, text, fuse_last, width=text.width, query_norm=query_norm)


def infer_head(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of `Grounding` for a detector's tensors."""

    def count(pattern: str) -> int:
        return len({match[1] for key in tensors if (match := re.match(pattern, key))})

    lateral, stem = (
        tensors.get(key) for key in ("fusion_backbone.backbone.fpn.fpn_inner2.weight", BODY + "patch_embed.proj.weight")
    )
    cell = tensors.get("rpn.anchor_generator.cell_anchors.0")
    if lateral is None or stem is None or cell is None:
        raise CheckpointError(
            "this is no checkpoint of FIBER's fine stage: it lacks fpn_inner2, the stem or the anchors; coarse files have the format fiber-coarse"
        )
    stride = 2 * stem.shape[-1]  # of the second stage, where the pyramid begins
    return {
        "width": lateral.shape[0],
        "blocks": count(r"rpn\.head\.dyhead_tower\.(\d+)\."),
        "levels": count(r"rpn\.head\.scales\.(\d+)\."),
        "anchor_scale": float(cell[0, 2] - cell[0, 0] + 1) / stride,
        "drop_block": DROP_BLOCK,
        "published": True,
    }
