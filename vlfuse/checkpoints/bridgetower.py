"""BridgeTower's published checkpoints (PyTorch Lightning files of microsoft/BridgeTower) as our model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig, resize_positions
from vlfuse.checkpoints import roberta, vit
from vlfuse.checkpoints.absent import answer_labels, start_contrastive_anew
from vlfuse.checkpoints.mapping import Drop, Report, Rule, rename, require_fit, require_known
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Head, Model
from vlfuse.systems.bridgetower import PICTURES, BridgeTower, BridgeTowerConfig
from vlfuse.tasks import TASKS
from vlfuse.types import CheckpointError, ConfigError

HEAD_WIDTH = 64  # of every published encoder; the number of heads leaves no trace in the weights
STREAM = r"cross_modal_(text|image)_"
LAYER = STREAM + r"layers\.(\d+)\."


def rules() -> list[Rule | Drop]:
    """Every key of the pre-training, VQA, NLVR2, SNLI-VE and retrieval files."""
    return [
        *vit.rules(r"vit_model\.visual\.", "system.image."),
        *roberta.rules(r"text_transformer\.", "system.text."),
        *fusion(""),
        *heads(),
        Rule("temperature", "system.temperature"),
        Drop(
            r"vit_model\.(positional_embedding|ln_final\..+)",
            "CLIP's text side, which the reference carries along unused",
        ),
    ]


def fusion(prefix: str) -> list[Rule | Drop]:
    """The cross-modal encoder, named alike in the official files and in Hugging Face's,
    there behind a prefix (a pattern)."""
    layer = prefix + LAYER
    attention = [
        rule
        for theirs, ours in ((r"attention\.", "attention"), (r"crossattention\.", "cross"))
        for rule in (
            Rule(layer + theirs + r"self\.query\.(.+)", rf"system.\1_layers.\2.{ours}.query.\3"),
            Rule(layer + theirs + r"self\.key\.(.+)", rf"system.\1_layers.\2.{ours}.key_value.\3", 0, 2),
            Rule(layer + theirs + r"self\.value\.(.+)", rf"system.\1_layers.\2.{ours}.key_value.\3", 1, 2),
            Rule(layer + theirs + r"output\.dense\.(.+)", rf"system.\1_layers.\2.{ours}.proj.\3"),
            Rule(layer + theirs + r"output\.LayerNorm\.(.+)", rf"system.\1_layers.\2.{ours}_norm.\3"),
        )
    ]
    return [
        *attention,
        Rule(layer + r"intermediate\.dense\.(.+)", r"system.\1_layers.\2.mlp.fc1.\3"),
        Rule(layer + r"output\.dense\.(.+)", r"system.\1_layers.\2.mlp.fc2.\3"),
        Rule(layer + r"output\.LayerNorm\.(.+)", r"system.\1_layers.\2.output_norm.\3"),
        Rule(prefix + STREAM + r"transform\.(.+)", r"system.\1_transform.\2"),
        Rule(prefix + STREAM + r"layernorm\.(.+)", r"system.\1_norm.\2"),
        Rule(prefix + STREAM + r"pooler\.(.+)", r"system.\1_pooler.\2"),
        Rule(prefix + STREAM + r"link_tower\.(\d+)\.LayerNorm\.(.+)", r"system.\1_bridges.\2.norm.\3"),
        Rule(prefix + STREAM + r"link_tower\.(\d+)\.scaled_factor", r"system.\1_bridges.\2.mix.scale"),
        Rule(prefix + STREAM + r"link_tower\.(\d+)\.beta", r"system.\1_bridges.\2.mix.share"),
        Rule(prefix + r"token_type_embeddings\.weight", "system.token_types.weight"),
    ]


def heads() -> list[Rule | Drop]:
    return [
        *shared_heads(),
        Rule(r"itc_(text|image)_head\.fc\.(.+)", r"system.\1_projection.\2"),
        Rule(r"cross_modal_itc_(text|image)_head\.fc\.(.+)", r"system.\1_projection.\2"),  # so named by ManagerTower
        Rule(r"vqa_classifier\.(.+)", r"heads.vqa.classifier.\1"),
        Rule(r"nlvr2_classifier\.(.+)", r"heads.nlvr2.classifier.\1"),
        Rule(r"snli_classifier\.(.+)", r"heads.entailment.classifier.\1"),
        Rule(r"rank_output\.(.+)", r"heads.itm.rank.\1"),  # becomes a row of the classifier
    ]


def shared_heads() -> list[Rule | Drop]:
    """Those that Hugging Face has, too, under the same names."""
    return [
        Rule(r"mlm_score\.transform\.dense\.(.+)", r"heads.mlm.dense.\1"),
        Rule(r"mlm_score\.transform\.LayerNorm\.(.+)", r"heads.mlm.norm.\1"),
        Rule(r"mlm_score\.decoder\.weight", "heads.mlm.decoder.weight"),
        Rule(r"mlm_score\.bias", "heads.mlm.decoder.bias"),
        Rule(r"itm_score\.fc\.(.+)", r"heads.itm.classifier.\1"),
    ]


def import_bridgetower(
    tensors: Mapping[str, Tensor],
    resolution: int | None = None,
    answers: Sequence[str] | None = None,
    text_heads: int | None = None,
    cross_heads: int | None = None,
) -> tuple[Model, Report]:
    """Our model from the official tensors, configured by their shapes and with every head they hold.

    resolution: image side to use the model at, a multiple of the patch; None keeps the file's (positions are stretched
    otherwise). answers: labels of the VQA classifier, in its order; the file does not hold them. text_heads,
    cross_heads: attention heads where the width is no multiple of 64 (it is in every published model).

    Raises CheckpointError on a key without a place, a tensor that is missing without good reason, or shapes that make
    no BridgeTower.
    """
    config = infer_config(tensors, text_heads, cross_heads)
    report = Report()
    given = rename(tensors, rules(), report)
    require_known(report, "the checkpoint")
    fold_ranking(given, report)
    from_official_labels(given)
    if resolution is not None and resolution != config.image.image_size:
        report.notes.append(f"positions stretched from {config.image.image_size} to {resolution} pixels (bicubic)")
        config = at_resolution(config, resolution, given, "system.")
    return assemble(config, given, official_heads(given, answers, report), report, "the checkpoint"), report


def at_resolution(
    config: BridgeTowerConfig, resolution: int, tensors: dict[str, Tensor], prefix: str = ""
) -> BridgeTowerConfig:
    """The configuration for pictures of `resolution` pixels a side;
    the table of positions in `tensors` is stretched to it."""
    image = replace(config.image, image_size=resolution)
    name = f"{prefix}image.position"
    tensors[name] = resize_positions(tensors[name], (image.side, image.side))
    return replace(config, image=image)


def infer_config(
    tensors: Mapping[str, Tensor], text_heads: int | None = None, cross_heads: int | None = None
) -> BridgeTowerConfig:
    """The configuration of official tensors. What leaves no trace in them (dropout, eps) takes the published value."""

    def shape(key: str, dimensions: int) -> torch.Size:
        if key not in tensors or tensors[key].ndim != dimensions:
            raise CheckpointError(f"this is no checkpoint of BridgeTower: it has no '{key}' of {dimensions} dimensions")
        return tensors[key].shape

    image_width, _, patch, _ = shape("vit_model.visual.conv1.weight", 4)
    side = isqrt(shape("vit_model.visual.positional_embedding", 2)[0] - 1)
    vocab_size, text_width = shape("text_transformer.embeddings.word_embeddings.weight", 2)
    width = shape("cross_modal_text_transform.weight", 2)[0]
    layers = count(r"cross_modal_text_layers\.(\d+)\..+", tensors)
    itc = next((tensors[key] for key in tensors if key.endswith("itc_text_head.fc.weight")), None)
    return BridgeTowerConfig(
        image=ViTConfig(
            width=image_width,
            layers=count(r"vit_model\.visual\.transformer\.resblocks\.(\d+)\..+", tensors),
            heads=max(1, image_width // HEAD_WIDTH),
            patch=patch,
            image_size=side * patch,
        ),
        text=TextConfig(
            vocab_size=vocab_size,
            width=text_width,
            layers=count(r"text_transformer\.encoder\.layer\.(\d+)\..+", tensors),
            heads=text_heads or published_heads(text_width, "text_heads"),
            intermediate=shape("text_transformer.encoder.layer.0.intermediate.dense.weight", 2)[0],
            positions=shape("text_transformer.embeddings.position_embeddings.weight", 2)[0],
        ),
        layers=layers,
        width=width,
        heads=cross_heads or published_heads(width, "cross_heads"),
        intermediate=shape("cross_modal_text_layers.0.intermediate.dense.weight", 2)[0],
        embed_dim=BridgeTowerConfig.embed_dim if itc is None else itc.shape[0],
    )


def published_heads(width: int, name: str) -> int:
    if width % HEAD_WIDTH:
        raise ConfigError(f"a width of {width} is no multiple of {HEAD_WIDTH}: name the attention heads ({name})")
    return width // HEAD_WIDTH


def count(pattern: str, keys: Mapping[str, Tensor]) -> int:
    """How many numbers the group of `pattern` captures."""
    return len({match[1] for key in keys if (match := re.fullmatch(pattern, key))})


# --- heads ---------------------------------------------------------------------------------------------------------


def from_official_labels(given: dict[str, Tensor]) -> None:
    """Entailment: the reference counts contradiction, neutral, entailment; we count the other way round."""
    for part in ("weight", "bias"):
        name = f"heads.entailment.classifier.3.{part}"
        if name in given:
            given[name] = given[name].flip(0)


def fold_ranking(given: dict[str, Tensor], report: Report) -> None:
    """The ranking head began as row 1 of the matching head, which was frozen then: it takes its place there."""
    for part in ("weight", "bias"):
        row, name = given.pop(f"heads.itm.rank.{part}", None), f"heads.itm.classifier.{part}"
        if row is None:
            continue
        if name not in given:
            raise CheckpointError(f"the checkpoint has rank_output.{part} without itm_score.fc.{part}")
        given[name] = torch.cat([given[name][:1], row])
        report.notes.append(f"rank_output.{part} became the row of the matching head that pairs are ranked by")


def official_heads(
    given: Mapping[str, Tensor], answers: Sequence[str] | None, report: Report
) -> dict[str, dict[str, Any]]:
    """Settings of the heads for which there are tensors, by name.
    The contrastive objective's own are the projections."""
    have = {name.split(".")[1] for name in given if name.startswith("heads.")}
    contrastive = "system.text_projection.weight" in given
    ranked = any(key.startswith("rank_output") for key in report.mapped)
    found: dict[str, dict[str, Any]] = {}
    if "mlm" in have:
        found["mlm"] = {}
    if contrastive:
        found["itc"] = {}
    if "itm" in have:
        found["itm"] = {"negatives": "texts" if ranked else "hard" if contrastive else "random"}
    if "vqa" in have:
        found["vqa"] = {"answers": answer_labels(given, answers, report), "scale": scale(given, "vqa", 2)}
    elif answers is not None:
        raise ConfigError("the checkpoint has no vqa_classifier, so it can use no list of answers; leave answers out")
    if "nlvr2" in have:
        found["nlvr2"] = {"scale": scale(given, "nlvr2", 2), "dropout": 0.1}
    if "entailment" in have:
        found["entailment"] = {"scale": scale(given, "entailment", 2)}
    return found


def scale(given: Mapping[str, Tensor], head: str, streams: int) -> float:
    """Hidden width of a classifier in pooled widths (both streams' first tokens)."""
    return len(given[f"heads.{head}.classifier.1.weight"]) / (streams * len(given["system.text_transform.bias"]))


# --- the model -----------------------------------------------------------------------------------------------------


def assemble(
    config: BridgeTowerConfig, given: dict[str, Tensor], heads: dict[str, dict[str, Any]], report: Report, source: str
) -> Model:
    """The model that renamed tensors make, all of them in their places.
    Raises CheckpointError when one does not fit."""
    given = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    types = given.get("system.token_types.weight")
    if types is not None and len(types) < 1 + PICTURES:
        given["system.token_types.weight"] = torch.cat([types, types[-1:]])
        report.notes.append(
            "the second picture of a pair starts with the token type of the first, as published for NLVR2"
        )
    with torch.device("meta"):
        system = BridgeTower(config)
        kinds: dict[str, type[Head]] = {**OBJECTIVES, **TASKS}
        model = Model(system, {name: kinds[name](system, **settings) for name, settings in heads.items()})
    start_contrastive_anew(model, ("text_projection", "image_projection"), given, report)
    require_fit(model.state_dict(), given, source)
    model.load_state_dict(given, assign=True)
    return model.eval()
