"""CLIP's Vision Transformer in OpenAI's names as the image backbone."""

from vlfuse.checkpoints.mapping import Drop, Rule

BLOCK = r"transformer\.resblocks\.(\d+)\."


def rules(theirs: str, ours: str) -> list[Rule | Drop]:
    """theirs: pattern before every foreign key; ours: name before every key of ours."""
    return [
        Rule(theirs + "class_embedding", ours + "class_token"),
        Rule(theirs + "positional_embedding", ours + "position"),
        Rule(theirs + r"conv1\.weight", ours + "patch_embed.weight"),
        *blocks(theirs, ours),
    ]


def blocks(theirs: str, ours: str) -> list[Rule | Drop]:
    """What Hugging Face's BridgeTower names alike."""
    block = rf"{ours}blocks.\1."
    return [
        Rule(theirs + r"ln_(pre|post)\.(.+)", rf"{ours}norm_\1.\2"),
        Rule(theirs + BLOCK + r"attn\.in_proj_(weight|bias)", block + r"attention.qkv.\2"),
        Rule(theirs + BLOCK + r"attn\.out_proj\.(.+)", block + r"attention.proj.\2"),
        Rule(theirs + BLOCK + r"ln_(1|2)\.(.+)", block + r"norm\2.\3"),
        Rule(theirs + BLOCK + r"mlp\.c_fc\.(.+)", block + r"mlp.fc1.\2"),
        Rule(theirs + BLOCK + r"mlp\.c_proj\.(.+)", block + r"mlp.fc2.\2"),
    ]
