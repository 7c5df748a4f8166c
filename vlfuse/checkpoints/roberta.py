"""RoBERTa in the layout of Hugging Face transformers as the text backbone."""

from vlfuse.checkpoints.mapping import Drop, Rule

LAYER = r"encoder\.layer\.(\d+)\."


def rules(theirs: str, ours: str) -> list[Rule | Drop]:
    """theirs: pattern before every foreign key; ours: name before every key of ours. Query,
    key and value are stacked."""
    layer = rf"{ours}layers.\1."
    embeddings = {"word_embeddings": "word", "position_embeddings": "position", "token_type_embeddings": "token_type"}
    return [
        *[
            Rule(theirs + rf"embeddings\.{name}\.weight", f"{ours}embeddings.{place}.weight")
            for name, place in embeddings.items()
        ],
        Rule(theirs + r"embeddings\.LayerNorm\.(.+)", rf"{ours}embeddings.norm.\1"),
        *[
            Rule(theirs + LAYER + rf"attention\.self\.{part}\.(.+)", layer + r"attention.qkv.\2", i, 3)
            for i, part in enumerate(("query", "key", "value"))
        ],
        Rule(theirs + LAYER + r"attention\.output\.dense\.(.+)", layer + r"attention.proj.\2"),
        Rule(theirs + LAYER + r"attention\.output\.LayerNorm\.(.+)", layer + r"attention_norm.\2"),
        Rule(theirs + LAYER + r"intermediate\.dense\.(.+)", layer + r"mlp.fc1.\2"),
        Rule(theirs + LAYER + r"output\.dense\.(.+)", layer + r"mlp.fc2.\2"),
        Rule(theirs + LAYER + r"output\.LayerNorm\.(.+)", layer + r"output_norm.\2"),
        Drop(theirs + r"embeddings\.(position_ids|token_type_ids)", "computed from the padding when needed"),
        Drop(theirs + r"pooler\..+", "not part of the backbone; poolers are trained with the system"),
    ]
