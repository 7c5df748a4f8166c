"""End-to-end vision-language models that fuse image and text inside the network.

`load(name)` gives a `Predictor`; `list_models()` says what can be loaded without a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlfuse.predict import Predictor

__version__ = "0.1.0"


def load(name: str, device: str = "auto") -> Predictor:
    """A model ready for use: one shipped with the package ("fiber-nano"), a local folder, or a hub id ("owner/name").

    device: "cpu", "cuda", ...; "auto" takes a GPU where there is one.
    Raises CheckpointError when there is no such model or its files do not fit together.
    """
    # Imported here so that `import vlfuse` costs no second of torch.
    from vlfuse.checkpoints.hub import load_model
    from vlfuse.predict import Predictor
    from vlfuse.types import CheckpointError

    loaded = load_model(name)
    if loaded.tokenizer is None:
        raise CheckpointError(f"{name} has no tokenizer.json; put the file of the model's tokenizer into its folder")
    given = loaded.preprocessing
    return Predictor(loaded.model, loaded.tokenizer, given.transform(), given.max_text, device, name=str(name))


def list_models() -> list[str]:
    """Names of the models shipped with the package."""
    from vlfuse.checkpoints.hub import shipped_models

    return sorted(shipped_models())
