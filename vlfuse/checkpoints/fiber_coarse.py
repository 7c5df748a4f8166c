"""FIBER's published coarse-stage checkpoints (PyTorch Lightning files; fact sheet sections 6 and 8)."""

from vlfuse.checkpoints.mapping import Drop, Rule
from vlfuse.systems.fiber import FiberConfig

SWIN_BLOCK = r"vit_model\.layers\.(\d+)\.blocks\.(\d+)\."
OUR_BLOCK = r"system.image.stages.\1.blocks.\2."
TEXT_LAYER = r"text_transformer\.encoder\.layer\.(\d+)\."
OUR_LAYER = r"system.text.layers.\1."


def rules(config: FiberConfig) -> list[Rule | Drop]:
    """Every key of the pre-training, VQA, NLVR2, captioning and retrieval files for a model of this configuration."""
    fused = "|".join(str(layer) for layer in range(config.text.layers - config.fuse_last, config.text.layers))
    fused_layer = TEXT_LAYER.replace(r"(\d+)", f"({fused})")
    return [*_image(), *_text(fused_layer), *_joint(), *_heads(), *_dropped()]


def _image() -> list[Rule | Drop]:
    return [
        Rule(r"vit_model\.patch_embed\.(.+)", r"system.image.patch_embed.\1"),
        Rule(SWIN_BLOCK + r"(norm1|norm2|mlp\.fc1|mlp\.fc2)\.(.+)", OUR_BLOCK + r"\3.\4"),
        Rule(SWIN_BLOCK + r"attn\.(qkv|proj)\.(.+)", OUR_BLOCK + r"attention.\3.\4"),
        Rule(SWIN_BLOCK + r"attn\.relative_position_bias_table", OUR_BLOCK + "attention.bias_table"),
        Rule(SWIN_BLOCK + r"attn\.alpha_i2t", OUR_BLOCK + "cross.gate"),
        Rule(SWIN_BLOCK + r"attn\.norm_i2t_i\.(.+)", OUR_BLOCK + r"cross.norm.\3"),
        Rule(SWIN_BLOCK + r"attn\.qkv_i2t\.(.+)", OUR_BLOCK + r"cross.query.\3"),
        Rule(SWIN_BLOCK + r"attn\.qkv_text_i2t\.(.+)", OUR_BLOCK + r"cross.key_value.\3"),
        Rule(SWIN_BLOCK + r"attn\.proj_i2t\.(.+)", OUR_BLOCK + r"cross.proj.\3"),
        Rule(r"vit_model\.layers\.(\d+)\.downsample\.(.+)", r"system.image.stages.\1.merge.\2"),
        Rule(r"vit_model\.norm\.(.+)", r"system.image.norm.\1"),
        Drop(r"vit_model\..+\.(attn_mask|relative_position_index)", "computed from the grid when needed"),
    ]


def _text(fused_layer: str) -> list[Rule | Drop]:
    names = {"word_embeddings": "word", "position_embeddings": "position", "token_type_embeddings": "token_type"}
    packed = [
        Rule(TEXT_LAYER + rf"attention\.self\.{part}\.(.+)", OUR_LAYER + r"attention.qkv.\2", i, 3)
        for i, part in enumerate(("query", "key", "value"))
    ]
    packed += [
        Rule(fused_layer + rf"crossattention_t2i\.self\.{part}\.(.+)", OUR_LAYER + r"cross.key_value.\2", i, 2)
        for i, part in enumerate(("key", "value"))
    ]
    return [
        *[
            Rule(rf"text_transformer\.embeddings\.{theirs}\.weight", f"system.text.embeddings.{ours}.weight")
            for theirs, ours in names.items()
        ],
        Rule(r"text_transformer\.embeddings\.LayerNorm\.(.+)", r"system.text.embeddings.norm.\1"),
        *packed,
        Rule(TEXT_LAYER + r"attention\.output\.dense\.(.+)", OUR_LAYER + r"attention.proj.\2"),
        Rule(TEXT_LAYER + r"attention\.output\.LayerNorm\.(.+)", OUR_LAYER + r"attention_norm.\2"),
        Rule(TEXT_LAYER + r"intermediate\.dense\.(.+)", OUR_LAYER + r"mlp.fc1.\2"),
        Rule(TEXT_LAYER + r"output\.dense\.(.+)", OUR_LAYER + r"mlp.fc2.\2"),
        Rule(TEXT_LAYER + r"output\.LayerNorm\.(.+)", OUR_LAYER + r"output_norm.\2"),
        Rule(fused_layer + r"alpha_t2i", OUR_LAYER + "cross.gate"),
        Rule(fused_layer + r"crossattention_t2i\.self\.query\.(.+)", OUR_LAYER + r"cross.query.\2"),
        Rule(fused_layer + r"crossattention_t2i\.output\.dense\.(.+)", OUR_LAYER + r"cross.proj.\2"),
        Drop(TEXT_LAYER + r"crossattention_t2i\.output\.LayerNorm\..+", "never used by the reference"),
        Drop(TEXT_LAYER + r"alpha_t2i", "gate of a layer without fusion, never used by the reference"),
        Drop(r"text_transformer\.embeddings\.position_ids", "computed from the padding when needed"),
        Drop(r"text_transformer\.pooler\..+", "never used by the reference"),
    ]


def _joint() -> list[Rule | Drop]:
    return [
        Rule(r"cross_modal_(text|image)_transform(_itc)?\.(.+)", r"system.\1_transform\2.\3"),
        Rule(r"cross_modal_(text|image)_pooler(_itc)?\.(.+)", r"system.\1_pooler\2.\3"),
        Rule(r"temp", "system.temperature"),
    ]


def _heads() -> list[Rule | Drop]:
    return [
        Rule(r"mlm_score\.transform\.dense\.(.+)", r"heads.mlm.dense.\1"),
        Rule(r"mlm_score\.transform\.LayerNorm\.(.+)", r"heads.mlm.norm.\1"),
        Rule(r"mlm_score\.decoder\.weight", "heads.mlm.decoder.weight"),
        Rule(r"mlm_score\.(?:decoder\.)?bias", "heads.mlm.decoder.bias"),
        Rule(r"itm_score\.fc\.(.+)", r"heads.itm.classifier.\1"),
        Rule(r"vqa_classifier\.(.+)", r"heads.vqa.classifier.\1"),
        Rule(r"nlvr2_classifier\.(.+)", r"heads.nlvr2.classifier.\1"),
    ]


def _dropped() -> list[Rule | Drop]:
    return [
        Drop(
            r"(image|text)_queue|(image|text)_input_queue|text_input_mask_queue|queue_(ptr|total)",
            "training state of the contrastive queue",
        ),
        Drop(r"rank_output\..+", "stale copy of the matching head's positive row (fact sheet Q1); itm_score is the trained one"),
        Drop(r"cross_modal_att_layers\..+", "projections of the captioner"),
    ]
