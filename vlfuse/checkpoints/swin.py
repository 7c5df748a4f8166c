"""Published Swin Transformers as the image backbone: Microsoft's files, and timm's of before and after version 0.9."""

import re
from collections.abc import Mapping

from torch import Tensor

from vlfuse.checkpoints.mapping import Drop, Report, Rule
from vlfuse.checkpoints.resize import resize_bias_table, table_window

BLOCK = r"layers\.(\d+)\.blocks\.(\d+)\."


def rules(theirs: str, ours: str, stages: int, merge_first: bool = False) -> list[Rule | Drop]:
    """theirs: pattern before every foreign key; ours: name before every key of ours; stages: number of them.

    merge_first: patch merging opens the next stage (timm since 0.9) instead of closing its own (Microsoft, older timm).
    """
    block = rf"{ours}stages.\1.blocks.\2."
    merging = [
        Rule(theirs + rf"layers\.{stage + merge_first}\.downsample\.(.+)", rf"{ours}stages.{stage}.merge.\1")
        for stage in range(stages - 1)
    ]
    return [
        Rule(theirs + r"patch_embed\.(.+)", rf"{ours}patch_embed.\1"),
        Rule(theirs + BLOCK + r"(norm1|norm2|mlp\.fc1|mlp\.fc2)\.(.+)", block + r"\3.\4"),
        Rule(theirs + BLOCK + r"attn\.(qkv|proj)\.(.+)", block + r"attention.\3.\4"),
        Rule(theirs + BLOCK + r"attn\.relative_position_bias_table", block + "attention.bias_table"),
        *merging,
        Rule(theirs + r"norm\.(.+)", rf"{ours}norm.\1"),
        Drop(theirs + r".+\.(attn_mask|relative_position_index)", "computed from the grid when needed"),
    ]


def merges_first(keys: Mapping[str, Tensor]) -> bool:
    """Is this timm's newer layout? There the first stage has no patch merging."""
    return any(re.match(r"layers\.\d+\.downsample\.", key) for key in keys) and not any(
        key.startswith("layers.0.downsample.") for key in keys
    )


def resize_tables(tensors: dict[str, Tensor], window: int, report: Report) -> dict[str, Tensor]:
    """The same tensors with every bias table brought to `window`; what was resized is noted."""
    tables = {name: tensor for name, tensor in tensors.items() if name.endswith(".bias_table")}
    before = sorted({table_window(table) for table in tables.values()} - {window})
    if before:
        report.notes.append(
            f"bias tables resized from window {', '.join(map(str, before))} to {window} (bicubic); fine-tune before use at the new size"
        )
    return {name: resize_bias_table(tensor, window) if name in tables else tensor for name, tensor in tensors.items()}
