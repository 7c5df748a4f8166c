"""FIBER's published coarse-stage checkpoints (PyTorch Lightning files of microsoft/FIBER), in and out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints import roberta, swin
from vlfuse.checkpoints.absent import answer_labels, start_contrastive_anew
from vlfuse.checkpoints.mapping import Drop, Report, Rule, invert, listed, rename, require_fit, require_known
from vlfuse.checkpoints.resize import table_window
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Head, Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.tasks import TASKS
from vlfuse.types import CheckpointError, ConfigError

ROBERTA_HEAD_WIDTH = 64  # of every published RoBERTa; the number of heads leaves no trace in the weights
ROBERTA_FRAME = {"start": 0, "end": 2, "pad": 1}
IMAGE, TEXT = r"vit_model\.", r"text_transformer\."
CONTRASTIVE = ("image_transform_itc", "text_transform_itc", "image_pooler_itc", "text_pooler_itc")
OUR_BLOCK, OUR_LAYER = r"system.image.stages.\1.blocks.\2.", r"system.text.layers.\1."


def rules(config: FiberConfig, captioner: bool = False) -> list[Rule | Drop]:
    """Every key of the pre-training, VQA, NLVR2, captioning and retrieval files for a model of this configuration.

    captioner: `mlm_score` writes captions, as in files that have the captioner's projections, and does not fill masks.
    """
    fused = "|".join(str(layer) for layer in range(config.text.layers - config.fuse_last, config.text.layers))
    return [
        *swin.rules(IMAGE, "system.image.", len(config.swin.depths)),
        *image_fusion(IMAGE + swin.BLOCK + r"attn\."),
        *roberta.rules(TEXT, "system.text."),
        *text_fusion(TEXT + roberta.LAYER, TEXT + roberta.LAYER.replace(r"(\d+)", f"({fused})")),
        *_joint(),
        *_heads("caption" if captioner else "mlm"),
        *_captioner(config),
        *_dropped(),
    ]


def image_fusion(attention: str) -> list[Rule | Drop]:
    """attention: pattern before the keys of a block's attention."""
    return [
        Rule(attention + "alpha_i2t", OUR_BLOCK + "cross.gate"),
        Rule(attention + r"norm_i2t_i\.(.+)", OUR_BLOCK + r"cross.norm.\3"),
        Rule(attention + r"qkv_i2t\.(.+)", OUR_BLOCK + r"cross.query.\3"),
        Rule(attention + r"qkv_text_i2t\.(.+)", OUR_BLOCK + r"cross.key_value.\3"),
        Rule(attention + r"proj_i2t\.(.+)", OUR_BLOCK + r"cross.proj.\3"),
    ]


def text_fusion(layer: str, fused_layer: str) -> list[Rule | Drop]:
    """Patterns before the keys of any layer, and of a fused one."""
    cross = fused_layer + r"crossattention_t2i\."
    return [
        Rule(fused_layer + "alpha_t2i", OUR_LAYER + "cross.gate"),
        Rule(cross + r"self\.query\.(.+)", OUR_LAYER + r"cross.query.\2"),
        Rule(cross + r"self\.key\.(.+)", OUR_LAYER + r"cross.key_value.\2", 0, 2),
        Rule(cross + r"self\.value\.(.+)", OUR_LAYER + r"cross.key_value.\2", 1, 2),
        Rule(cross + r"output\.dense\.(.+)", OUR_LAYER + r"cross.proj.\2"),
        Drop(cross + r"output\.LayerNorm\..+", "never used by the reference"),
        Drop(layer + "alpha_t2i", "gate of a layer without fusion, never used by the reference"),
    ]


def _joint() -> list[Rule | Drop]:
    return [
        Rule(r"cross_modal_(text|image)_transform(_itc)?\.(.+)", r"system.\1_transform\2.\3"),
        Rule(r"cross_modal_(text|image)_pooler(_itc)?\.(.+)", r"system.\1_pooler\2.\3"),
        Rule("temp", "system.temperature"),
    ]


def _heads(words: str) -> list[Rule | Drop]:
    return [
        Rule(r"mlm_score\.transform\.dense\.(.+)", rf"heads.{words}.dense.\1"),
        Rule(r"mlm_score\.transform\.LayerNorm\.(.+)", rf"heads.{words}.norm.\1"),
        Rule(r"mlm_score\.decoder\.weight", f"heads.{words}.decoder.weight"),
        Rule(r"mlm_score\.bias", f"heads.{words}.decoder.bias"),
        Rule(r"itm_score\.fc\.(.+)", r"heads.itm.classifier.\1"),
        Rule(r"vqa_classifier\.(.+)", r"heads.vqa.classifier.\1"),
        Rule(r"nlvr2_classifier\.(.+)", r"heads.nlvr2.classifier.\1"),
    ]


def _captioner(config: FiberConfig) -> list[Rule | Drop]:
    swin, first = config.swin, config.text.layers - config.fuse_last
    stages = [swin.blocks[block][0] for block in range(len(swin.blocks) - config.fuse_last, len(swin.blocks))]
    projected = "|".join(str(first + i) for i, stage in enumerate(stages) if stage < len(swin.depths) - 1)
    return [
        Rule(rf"cross_modal_att_layers\.({projected})\.(.+)", r"heads.caption.writer.project.\1.\2"),
        Drop(r"cross_modal_att_layers\..+", "projection for a layer without fusion, never used by the reference"),
    ]


def _dropped() -> list[Rule | Drop]:
    return [
        Drop(
            r"(image|text)_queue|(image|text)_input_queue|text_input_mask_queue|queue_(ptr|total)",
            "training state of the contrastive queue",
        ),
        Drop(
            r"rank_output\..+",
            "copy of the matching head's positive row as it was before training; itm_score is the trained one",
        ),
        Drop(r"copy_module\..+", "frozen copy of the captioner that GOLD training compares with"),
    ]


def import_fiber_coarse(
    tensors: Mapping[str, Tensor],
    resolution: int | None = None,
    answers: Sequence[str] | None = None,
    text_heads: int | None = None,
) -> tuple[Model, Report]:
    """Our model from the official tensors, configured by their shapes and with every head they hold.

    resolution: image side to use the model at, a multiple of 32; None keeps the file's (bias tables are resized
    otherwise). answers: the labels of the VQA classifier, in its order; the file does not hold them.
    text_heads: attention heads of the text encoder where its width is not a multiple of RoBERTa's 64 a head.

    Tensors that need no change are used as they are, not copied. Raises CheckpointError on a key without a place, a
    tensor that is missing without good reason, or shapes that make no FIBER.
    """
    config = infer_config(tensors, text_heads)
    report = Report()
    captioner = any(key.startswith("cross_modal_att_layers.") for key in tensors)
    given = rename(tensors, rules(config, captioner), report)
    require_known(report, "the checkpoint")
    if resolution is not None:
        config = at_resolution(config, resolution)
        given = swin.resize_tables(given, config.swin.window, report)
    given = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    with torch.device("meta"):
        model = _build(config, given, answers, report)
    start_contrastive_anew(model, CONTRASTIVE, given, report)
    require_fit(model.state_dict(), given, "the checkpoint")
    model.load_state_dict(given, assign=True)
    _compare_rank_output(tensors, report)
    return model.eval(), report


def at_resolution(config: FiberConfig, resolution: int) -> FiberConfig:
    """The published rule: the window is the image side / 32, so that the number of windows never changes."""
    stride = config.swin.patch * 2 ** (len(config.swin.depths) - 1)
    if resolution < stride or resolution % stride:
        raise ConfigError(f"resolution is {resolution}; it must be a multiple of {stride}, as 384 or 576")
    return replace(config, swin=replace(config.swin, window=resolution // stride))


def resolution_of(config: FiberConfig) -> int:
    """The image side at which the windows tile the grid as published."""
    return config.swin.window * config.swin.patch * 2 ** (len(config.swin.depths) - 1)


def infer_config(tensors: Mapping[str, Tensor], text_heads: int | None = None) -> FiberConfig:
    """The configuration of official tensors. What leaves no trace in them (dropout, drop path)
    takes the published value."""
    swin, text, fuse_last = infer_backbones(tensors, "vit_model.", "text_transformer.", text_heads)
    return FiberConfig(swin, text, fuse_last, width=_shape(tensors, "cross_modal_text_transform.weight", 2)[0])


def infer_backbones(
    tensors: Mapping[str, Tensor], image: str, text: str, text_heads: int | None
) -> tuple[SwinConfig, TextConfig, int]:
    """The backbones whose keys begin with `image` and `text`, and how many of their top blocks are fused."""
    embed_dim, _, patch, _ = _shape(tensors, f"{image}patch_embed.proj.weight", 4)
    hidden = _shape(tensors, f"{image}layers.0.blocks.0.mlp.fc1.weight", 2)[0]
    vocab_size, width = _shape(tensors, f"{text}embeddings.word_embeddings.weight", 2)
    intermediate = _shape(tensors, f"{text}encoder.layer.0.intermediate.dense.weight", 2)[0]
    layers = _numbers(re.escape(text) + r"encoder\.layer\.(\d+)\..+", tensors)
    blocks = _numbers(re.escape(image) + r"layers\.(\d+)\.blocks\.(\d+)\..+", tensors)
    depths = tuple(sum(stage == s for s, _ in blocks) for stage in range(1 + max(s for s, _ in blocks)))
    tables = {
        (stage, block): f"{image}layers.{stage}.blocks.{block}.attn.relative_position_bias_table"
        for stage, block in blocks
    }
    heads = {place: _shape(tensors, table, 2)[1] for place, table in tables.items()}
    windows = {table_window(tensors[table]) for table in tables.values()}
    if len(windows) > 1:
        raise CheckpointError(f"the bias tables belong to windows {sorted(windows)}; a FIBER has one window size")
    if text_heads is None and width % ROBERTA_HEAD_WIDTH:
        raise ConfigError(
            f"the text encoder is {width} wide, no multiple of {ROBERTA_HEAD_WIDTH}: name its attention heads (text_heads)"
        )
    swin = SwinConfig(
        embed_dim=embed_dim,
        depths=depths,
        heads=tuple(heads[stage, 0] for stage in range(len(depths))),
        window=windows.pop(),
        patch=patch,
        mlp_ratio=hidden / embed_dim,
    )
    words = TextConfig(
        vocab_size=vocab_size,
        width=width,
        layers=len(layers),
        heads=text_heads or width // ROBERTA_HEAD_WIDTH,
        intermediate=intermediate,
        positions=_shape(tensors, f"{text}embeddings.position_embeddings.weight", 2)[0],
    )
    image_fused = _numbers(re.escape(image) + r"layers\.(\d+)\.blocks\.(\d+)\.attn\.qkv_i2t\.weight", tensors)
    text_fused = _numbers(re.escape(text) + r"encoder\.layer\.(\d+)\.crossattention_t2i\.self\.query\.weight", tensors)
    count = len(image_fused)
    if not count or image_fused != blocks[-count:] or text_fused != layers[-count:]:
        raise CheckpointError(
            f"cross-attention sits in image blocks {image_fused} and text layers {text_fused}; "
            "FIBER fuses the last F of both backbones"
        )
    return swin, words, count


def _shape(tensors: Mapping[str, Tensor], key: str, dimensions: int) -> torch.Size:
    if key not in tensors or tensors[key].ndim != dimensions:
        raise CheckpointError(f"this is no checkpoint of FIBER: it has no '{key}' of {dimensions} dimensions")
    return tensors[key].shape


def _numbers(pattern: str, keys: Mapping[str, Tensor]) -> list[tuple[int, ...]]:
    """The distinct numbers that the groups of `pattern` capture, in order."""
    return sorted({tuple(map(int, match.groups())) for key in keys if (match := re.fullmatch(pattern, key))})


def _build(config: FiberConfig, given: Mapping[str, Tensor], answers: Sequence[str] | None, report: Report) -> Model:
    """A model with the heads for which there are tensors. The contrastive objective owns none:
    its mark is the temperature."""
    system = Fiber(config)
    have = {name.split(".")[1] for name in given if name.startswith("heads.")}
    contrastive = "system.temperature" in given
    heads: dict[str, Head] = {}
    if "mlm" in have:
        heads["mlm"] = OBJECTIVES["mlm"](system)
    if contrastive:
        heads["itc"] = OBJECTIVES["itc"](system)
    if "caption" in have:
        never = [config.text.vocab_size - 1]  # <mask>
        heads["caption"] = TASKS["caption"](system, **ROBERTA_FRAME, never=never, published_search=True)
        report.notes.append(
            "captions are searched for as the released code does; a conventional search is `published_search` false in config.json"
        )
    if "itm" in have:
        # Without the contrastive loss the published matching was fine-tuned on random negatives.
        heads["itm"] = OBJECTIVES["itm"](system, negatives="hard" if contrastive else "random")
    if "vqa" in have:
        heads["vqa"] = TASKS["vqa"](system, answer_labels(given, answers, report))
    elif answers is not None:
        raise ConfigError("the checkpoint has no vqa_classifier, so it can use no list of answers; leave answers out")
    if "nlvr2" in have:
        heads["nlvr2"] = TASKS["nlvr2"](system)
    return Model(system, heads)


def _compare_rank_output(tensors: Mapping[str, Tensor], report: Report) -> None:
    for part in ("weight", "bias"):
        rank, matching = tensors.get(f"rank_output.{part}"), tensors.get(f"itm_score.fc.{part}")
        if rank is not None and matching is not None and not torch.equal(rank.float(), matching[1:].float()):
            report.notes.append(
                f"rank_output.{part} differs from itm_score.fc.{part} row 1: it went stale in training and is ignored; "
                "scores differ from those of the reference's own loader, which uses it"
            )


def to_fiber_coarse(model: Model) -> dict[str, Tensor]:
    """The model under the official key names: what `import_fiber_coarse` reads,
    without the tensors the reference never uses.

    Raises CheckpointError for a head or system that the official format has no place for.
    """
    if not isinstance(model.system, Fiber):
        raise CheckpointError(f"{type(model.system).__name__} is not FIBER; this format holds nothing else")
    official = rules(model.system.config, "caption" in model.heads)
    tensors: dict[str, Tensor] = {}
    homeless = []
    for name, tensor in model.state_dict().items():
        keys = invert(name, official)
        if not keys:
            homeless.append(name)
        tensors |= {key: target.of(tensor) for key, target in keys.items()}
    if homeless:
        raise CheckpointError(f"the official format has no place for {listed(homeless)}; leave those heads out")
    return tensors
