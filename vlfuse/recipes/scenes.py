"""Names of generated data sets, as `vlfuse.data.readers.open_dataset` understands them."""

MANY = 1_000_000  # more than a nano run sees: no scene comes twice


def scenes(n: int = MANY, *, size: int | str, split: str = "train", seed: int = 0, **options: int | str) -> str:
    """`n` scenes of a split, drawn at `size` pixels; options as in SceneDataset (`fields`, and several sizes, joined by "+")."""
    parts = {"seed": seed, "split": split, "size": size, **options}
    return f"scenes:{n}," + ",".join(f"{name}={value}" for name, value in parts.items())
