"""Where a model's name leads: into the package, to a local folder, or to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from vlfuse.checkpoints.folder import CARD, CONFIG, TOKENIZER, WEIGHTS
from vlfuse.types import CheckpointError

SHIPPED = Path(__file__).parent.parent / "weights"


def shipped_models() -> dict[str, Path]:
    """Models that came with the package, by name."""
    return {config.parent.name: config.parent for config in sorted(SHIPPED.glob(f"*/{CONFIG}"))}


def resolve_model(name: str | Path) -> Path:
    """The folder of a model: a shipped name, an existing folder, or a hub id "owner/name" (downloaded once, then cached).

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
        return Path(snapshot_download(str(name), allow_patterns=[WEIGHTS, CONFIG, TOKENIZER, CARD]))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"'{name}' is no local folder, and the hub did not give it ({type(error).__name__}: {error}). "
            f"Without a network, download it elsewhere and name its folder. Allowed are {allowed}"
        ) from error
