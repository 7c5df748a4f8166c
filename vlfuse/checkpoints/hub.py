"""Where a model's name leads: into the package, to a local folder, or to the Hugging Face hub."""

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vlfuse.checkpoints.bridgetower_hf import load_huggingface as load_bridgetower
from vlfuse.checkpoints.folder import (
    CARD,
    CONFIG,
    TOKENIZER,
    LoadedModel,
    ModelConfig,
    load_folder,
    read_config,
)
from vlfuse.types import CheckpointError

SHIPPED = Path(__file__).parent.parent / "weights"
# Folders of other packages that are read as they are, by the `model_type` of their config.json.
FOREIGN = {"bridgetower": load_bridgetower}
FETCHED = [CONFIG, TOKENIZER, CARD, "*.safetensors", "*.safetensors.index.json", "preprocessor_config.json", "vocab.json", "merges.txt"]  # fmt: skip
PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]  # the same weights again, where there are both


def shipped_models() -> dict[str, Path]:
    """Models that came with the package, by name."""
    return {config.parent.name: config.parent for config in sorted(SHIPPED.glob(f"*/{CONFIG}"))}


def resolve_model(name: str | Path) -> Path:
    """The folder of a model: a shipped name, an existing folder, or a hub id "owner/name" (downloaded once,
    then cached).

    Raises CheckpointError that says what is allowed when the name is none of these or the hub cannot be reached.
    """
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    if Path(name).is_dir():
        return Path(name)
    allowed = f"shipped models: {', '.join(shipped) or 'none'}; or a model folder; or a hub id such as 'owner/name'"
    if Path(name).exists():
        raise CheckpointError(
            f"{name} is a file; foreign weights become a model by `vlfuse import {name} --format ... --out DIR`"
        )
    if str(name).count("/") != 1 or str(name).startswith(("/", ".", "~")):
        raise CheckpointError(f"there is no model '{name}'. Allowed are {allowed}")
    try:
        folder = Path(snapshot_download(str(name), allow_patterns=FETCHED))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(str(name), allow_patterns=PICKLED))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"'{name}' is no local folder, and the hub did not give it ({type(error).__name__}: {error}). "
            f"Without a network, download it elsewhere and name its folder. Allowed are {allowed}"
        ) from error


def load_model(name: str | Path) -> LoadedModel:
    """The model behind a name, ready for use: a folder of this package, or one that `transformers` wrote (FOREIGN).

    Raises CheckpointError as `resolve_model` and the reader of the folder do.
    """
    folder = resolve_model(name)
    reader = FOREIGN.get(_model_type(folder))
    return reader(folder) if reader else load_folder(folder)


def model_config(name: str | Path) -> ModelConfig:
    """What the model behind a name is; of a foreign one the weights are read to tell."""
    folder = resolve_model(name)
    reader = FOREIGN.get(_model_type(folder))
    return reader(folder).config if reader else read_config(folder)


def _model_type(folder: Path) -> str:
    try:
        described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return ""  # the reader of our own format says what is wrong
    return str(described.get("model_type", "")) if isinstance(described, dict) else ""
