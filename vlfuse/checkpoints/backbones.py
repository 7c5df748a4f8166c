"""Start new training from published backbones: Swin or CLIP's ViT for the image side, RoBERTa for the text side."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from vlfuse.backbones.swin import Swin
from vlfuse.backbones.text import TextEncoder
from vlfuse.backbones.vit import ViT, resize_positions
from vlfuse.checkpoints import roberta, swin, vit
from vlfuse.checkpoints.mapping import Drop, Report, rename, require_fit, require_known
from vlfuse.checkpoints.safe import read_tensors
from vlfuse.systems.base import Model
from vlfuse.types import ConfigError

B = TypeVar("B", Swin, TextEncoder)
FUSION = "fusion starts anew; the published backbone has none"


def init_backbones(
    model: Model, image: str | Path | None = None, text: str | Path | None = None, unsafe_pickle: bool = False
) -> Report:
    """Put published weights into the backbones of `model`; what fuses them, and the heads, keep their start.

    image: Swin weights in Microsoft's layout or timm's (of before and since version 0.9); bias tables are resized to
    the model's window. Where the image side is a ViT: CLIP in OpenAI's names (`visual.`); positions are stretched.
    text: RoBERTa weights in transformers' layout. Files as `safe.read_tensors` takes them. Raises CheckpointError when
    a key has no place or a tensor of the backbone is missing or of another shape.
    """
    report = Report()
    if image is not None and isinstance(getattr(model.system, "image", None), ViT):
        _fill_vit(model.system.image, read_tensors(image, unsafe_pickle), report, str(image))  # type: ignore[arg-type]
    elif image is not None:
        backbone = _backbone(model, "image", Swin)
        tensors = read_tensors(image, unsafe_pickle)
        rules = swin.rules("", "system.image.", len(backbone.config.depths), swin.merges_first(tensors))
        given = rename(tensors, [*rules, Drop(r"head\..+", "the classifier of the file's own labels")], report)
        given = swin.resize_tables(given, backbone.config.window, report)
        _fill(backbone, "system.image.", given, report, str(image))
    if text is not None:
        backbone = _backbone(model, "text", TextEncoder)
        rules = roberta.rules(r"(?:roberta\.)?", "system.text.")
        head = Drop(r"lm_head\..+", "the head of masked language modelling is trained with the system")
        given = rename(read_tensors(text, unsafe_pickle), [*rules, head], report)
        _fill(backbone, "system.text.", given, report, str(text))
    return report


def _fill_vit(backbone: ViT, tensors: Mapping[str, Tensor], report: Report, source: str) -> None:
    rest = [
        Drop(r"visual\.proj", "CLIP's own contrastive projection"),
        Drop(r"(?!visual\.).+", "the text side of CLIP"),
    ]
    given = rename(tensors, [*vit.rules(r"visual\.", "system.image."), *rest], report)
    position, side = given.get("system.image.position"), backbone.config.side
    if position is not None and len(position) != 1 + side**2:
        report.notes.append(f"positions stretched from {len(position) - 1} patches to {side**2} (bicubic)")
        given["system.image.position"] = resize_positions(position, (side, side))
    _fill(backbone, "system.image.", given, report, source)


def _backbone(model: Model, side: str, kind: type[B]) -> B:
    backbone = getattr(model.system, side, None)
    if not isinstance(backbone, kind):
        raise ConfigError(
            f"the {side} side of {type(model.system).__name__} is no {kind.__name__}; it cannot start from such a file"
        )
    return backbone


def _fill(
    backbone: Swin | ViT | TextEncoder, prefix: str, given: Mapping[str, Tensor], report: Report, source: str
) -> None:
    require_known(report, source)
    own = {prefix + name: tensor for name, tensor in backbone.state_dict().items()}
    fresh = {name: tensor for name, tensor in own.items() if ".cross." in name}
    require_fit({name: own[name] for name in own.keys() - fresh.keys()}, given, source)
    backbone.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in {**fresh, **given}.items()})
    report.missing |= dict.fromkeys(fresh, FUSION)
