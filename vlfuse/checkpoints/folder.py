"""A released model: a folder with `model.safetensors`, `config.json`, `tokenizer.json` and `README.md`."""

import json
import os
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlfuse import __version__
from vlfuse.checkpoints.config import config_from_dict, config_to_dict, unknown
from vlfuse.checkpoints.mapping import require_fit
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import EvalTransform
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems import SYSTEMS
from vlfuse.systems.base import Head, Model
from vlfuse.tasks import TASKS
from vlfuse.types import CheckpointError, ConfigError

FORMAT = 1
HEADS: dict[str, type[Head]] = {**OBJECTIVES, **TASKS}
WEIGHTS, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer.json", "README.md"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """What turns a user's picture and words into a batch: pictures are stretched to `size` x `size` pixels
    (keep_aspect: to as many pixels in their own shape; crop: the shorter side alone, then the middle is cut out),
    scaled to [0, 1] and normalised per channel; texts are cut at `max_text` tokens. What looks for regions keeps their
    shape: the short side has `size` pixels, see `vlfuse.data.scaling`."""

    size: int
    max_text: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    keep_aspect: bool = False
    crop: bool = False

    def at(self, size: int) -> Self:
        """The same for pictures of another size; 0 keeps it."""
        return replace(self, size=size) if size else self

    def transform(self) -> EvalTransform:
        return EvalTransform(self.size, self.mean, self.std, self.keep_aspect, self.crop)


@dataclass(frozen=True)
class ModelConfig:
    """The contents of `config.json`: all that is needed, beside the weights, to build the model and feed it."""

    system: str
    config: dict[str, Any]  # of the system
    heads: dict[str, dict[str, Any]]  # name -> settings
    preprocessing: Preprocessing
    notes: dict[str, Any] = field(default_factory=dict)
    vlfuse: str = __version__
    format: int = FORMAT


@dataclass(frozen=True)
class LoadedModel:
    model: Model
    tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    config: ModelConfig


def describe(model: Model, preprocessing: Preprocessing, notes: dict[str, Any] | None = None) -> ModelConfig:
    """The configuration to save beside the weights of `model`."""
    names: dict[type, str] = {kind: name for name, (kind, _) in SYSTEMS.items()}
    heads = {name: dict(model.head(name).settings()) for name in model.heads}
    for name in heads:
        if not isinstance(model.head(name), HEADS.get(name, type(None))):
            raise ConfigError(unknown(f"head '{name}' of this model", name, HEADS))
    return ModelConfig(
        names[type(model.system)], config_to_dict(model.system.config), heads, preprocessing, dict(notes or {})
    )


def build_model(config: ModelConfig | dict[str, Any]) -> Model:
    """A freshly initialised model, on torch's default device. Raises ConfigError on any unknown name or setting."""
    if isinstance(config, dict):
        config = config_from_dict(ModelConfig, config, CONFIG)
    if config.system not in SYSTEMS:
        raise ConfigError(unknown(f"system '{config.system}'", config.system, SYSTEMS))
    kind, config_kind = SYSTEMS[config.system]
    system = kind(config_from_dict(config_kind, config.config, config.system))
    heads: dict[str, Head] = {}
    for name, settings in config.heads.items():
        if name not in HEADS:
            raise ConfigError(unknown(f"head '{name}'", name, HEADS))
        allowed = list(signature(HEADS[name]).parameters)[1:]
        for setting in settings:
            if setting not in allowed:
                raise ConfigError(unknown(f"setting '{setting}' of head '{name}'", setting, allowed))
        heads[name] = HEADS[name](system, **settings)
    return Model(system, heads)


def save_folder(
    folder: str | os.PathLike,
    model: Model,
    tokenizer: Tokenizer | None,
    preprocessing: Preprocessing,
    dtype: str = "float32",
    card: str = "",
    notes: dict[str, Any] | None = None,
) -> Path:
    """Write a released model. dtype: how matrices are stored; norms, biases and scalars stay float32,
    they weigh nothing.

    Each file is replaced in one step, the configuration last, so that a broken-off write leaves no file half written.
    card: text of `README.md`; notes: any JSON values to keep in `config.json` (training command, scores).
    """
    folder = Path(folder)
    config = describe(model, preprocessing, notes)
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".part-", dir=folder) as part:
        save_file(tensors, Path(part, WEIGHTS), metadata={"format": "pt"})
        if tokenizer is not None:
            tokenizer.save(part)
        text = card or f"# {folder.name}\n\nA vlfuse model: `vlfuse.load({str(folder)!r})`.\n"
        Path(part, CARD).write_text(text, encoding="utf-8")
        described = json.dumps(config_to_dict(config), indent=2, ensure_ascii=False) + "\n"
        Path(part, CONFIG).write_text(described, encoding="utf-8")
        os.chmod(Path(part, WEIGHTS), Path(part, CONFIG).stat().st_mode)  # safetensors writes for the owner alone
        for name in (WEIGHTS, TOKENIZER, CARD, CONFIG):
            if Path(part, name).exists():
                os.replace(Path(part, name), folder / name)
    return folder


def _stored(name: str, tensor: Tensor, dtype: str) -> Tensor:
    if dtype not in ("float16", "float32"):
        raise ConfigError(f"dtype is '{dtype}'; weights are stored as float16 or float32")
    if not tensor.is_floating_point():
        return tensor.detach().contiguous()
    if not bool(tensor.isfinite().all()):
        raise CheckpointError(f"{name} holds values that are not finite; such a model is not saved")
    half = dtype == "float16" and tensor.ndim >= 2
    if half and tensor.numel() and float(tensor.abs().max()) > torch.finfo(torch.float16).max:
        raise CheckpointError(f"{name} holds values beyond float16; save with dtype='float32'")
    # A copy of its own: shared or expanded storage cannot be written as safetensors.
    return tensor.detach().to("cpu", torch.float16 if half else torch.float32, copy=True).contiguous()


def load_folder(folder: str | os.PathLike) -> LoadedModel:
    """Read a released model, in evaluation mode and float32. The tokenizer is None when the folder has none.

    Raises CheckpointError when a file is absent or broken, or a tensor is missing, unexpected or of another shape;
    ConfigError when the configuration names what this version does not know.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} has no {name}; a model is a folder with {WEIGHTS}, {CONFIG}, {TOKENIZER} and {CARD}"
            )
    config = read_config(folder)
    with torch.device("meta"):
        model = build_model(config)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read ({error}); fetch or write it again") from error
    require_fit(model.state_dict(), tensors, str(folder / WEIGHTS))
    fill(model, tensors)
    tokenizer = Tokenizer.load(folder) if (folder / TOKENIZER).is_file() else None
    if tokenizer is not None and tokenizer.vocab_size > model.system.vocab_size:
        raise CheckpointError(
            f"{folder / TOKENIZER} has {tokenizer.vocab_size} tokens, the model knows {model.system.vocab_size}; "
            "put the tokenizer there that the model was trained with"
        )
    if tokenizer is not None and "caption" in model.heads:
        model.head("caption").lend(tokenizer.decode, config.preprocessing.max_text)  # type: ignore[operator]
    return LoadedModel(model.eval(), tokenizer, config.preprocessing, config)


def read_config(folder: str | os.PathLike) -> ModelConfig:
    """What a released model is, without its weights."""
    path = Path(folder) / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); a model is a folder with that file"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is no JSON ({error}); fetch or write the model again") from error
    written = values.get("format") if isinstance(values, dict) else None
    if written != FORMAT:
        raise CheckpointError(f"{path} has format {written!r}; this version reads format {FORMAT}: update vlfuse")
    return config_from_dict(ModelConfig, values, str(path))


def fill(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Make float32 copies of `tensors` the weights of a module built on the meta device;
    names and shapes already fit."""
    owned = {
        name: tensor.detach().to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in tensors.items()
    }
    module.load_state_dict(owned, assign=True)
