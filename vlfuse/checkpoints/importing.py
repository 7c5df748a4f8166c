"""`vlfuse import`: a foreign checkpoint becomes a model folder, with a report on every key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vlfuse.checkpoints.bridgetower import import_bridgetower
from vlfuse.checkpoints.config import unknown
from vlfuse.checkpoints.fiber_coarse import import_fiber_coarse, resolution_of
from vlfuse.checkpoints.fiber_fine import import_fiber_fine
from vlfuse.checkpoints.folder import CLIP_MEAN, CLIP_STD, Preprocessing, save_folder
from vlfuse.checkpoints.mapping import Report
from vlfuse.checkpoints.safe import read_tensors
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.systems.base import Model
from vlfuse.types import ConfigError, DataError

DETECTOR_SIZE = 800  # published: of the short side
DETECTOR_TEXT = 256  # published


@dataclass(frozen=True)
class Asked:
    """What the user knows and the file may not; None leaves it to the file."""

    resolution: int | None = None
    answers: Sequence[str] | None = None
    text_heads: int | None = None


@dataclass(frozen=True)
class Format:
    about: str
    tokenizer: str  # hub id
    read: Callable[[Mapping[str, Tensor], Asked], tuple[Model, Preprocessing, Report]]


def _fiber_coarse(tensors: Mapping[str, Tensor], asked: Asked) -> tuple[Model, Preprocessing, Report]:
    model, report = import_fiber_coarse(tensors, asked.resolution, asked.answers, asked.text_heads)
    pretrained = "mlm" in model.heads and "itm" in model.heads
    max_text = 40 if pretrained else 50  # the published lengths: pre-training, every fine-tuning
    side = resolution_of(model.system.config)  # type: ignore[arg-type]
    return model, Preprocessing(side, min(max_text, model.system.max_tokens)), report


def _fiber_fine(tensors: Mapping[str, Tensor], asked: Asked) -> tuple[Model, Preprocessing, Report]:
    for name in ("resolution", "answers"):
        if getattr(asked, name) is not None:
            raise ConfigError(
                f"{name} is for coarse files: a detector reads pictures of any size and has no answers; leave it out"
            )
    model, report = import_fiber_fine(tensors, asked.text_heads)
    return model, Preprocessing(DETECTOR_SIZE, min(DETECTOR_TEXT, model.system.max_tokens)), report


def _bridgetower(tensors: Mapping[str, Tensor], asked: Asked) -> tuple[Model, Preprocessing, Report]:
    model, report = import_bridgetower(tensors, asked.resolution, asked.answers, asked.text_heads)
    retrieval = "itm" in model.heads and "mlm" not in model.heads
    max_text = 40 if retrieval else 50  # the published lengths
    side: int = model.system.config.image.image_size  # type: ignore[union-attr,assignment]
    # As published: pre-training sees the middle of a picture, every fine-tuning all of it, stretched.
    crop = "mlm" in model.heads
    return model, Preprocessing(side, min(max_text, model.system.max_tokens), CLIP_MEAN, CLIP_STD, crop=crop), report


FORMATS = {
    "fiber-coarse": Format(
        "FIBER, coarse stage: pre-training, VQA, NLVR2, captioning and retrieval files of microsoft/FIBER",
        "roberta-base",
        _fiber_coarse,
    ),
    "fiber-fine": Format(
        "FIBER, fine stage: detectors of microsoft/FIBER (pre-training, COCO, LVIS, RefCOCO)",
        "roberta-base",
        _fiber_fine,
    ),
    "bridgetower": Format(
        "BridgeTower: pre-training, VQA, NLVR2, SNLI-VE and retrieval files of microsoft/BridgeTower",
        "roberta-base",
        _bridgetower,
    ),
}


def import_file(
    file: str | Path,
    format: str,
    out: str | Path,
    *,
    answers: str | Path | None = None,
    resolution: int | None = None,
    text_heads: int | None = None,
    tokenizer: str | None = None,
    dtype: str = "float32",
    unsafe_pickle: bool = False,
) -> Report:
    """Read `file` of a foreign `format` (one of FORMATS) and write the model folder `out`.

    answers: a text file, one answer a line in the classifier's order. resolution: image side to use the model at.
    text_heads: attention heads of the text encoder, where its width does not tell them (RoBERTa has 64 units a head).
    tokenizer: a folder or hub id; None takes the format's own from the hub, and a folder without one when there is no
    network (the report says so). dtype: how matrices are stored, float32 or float16.
    Nothing is written unless every key is mapped or dropped for a reason. Raises CheckpointError, ConfigError,
    DataError.
    """
    if format not in FORMATS:
        raise ConfigError(unknown(f"format '{format}'", format, FORMATS))
    labels = None if answers is None else _read_lines(Path(answers))
    tensors = read_tensors(file, unsafe_pickle)
    model, preprocessing, report = FORMATS[format].read(tensors, Asked(resolution, labels, text_heads))
    words = _tokenizer(tokenizer, FORMATS[format].tokenizer, model.system.vocab_size, report)
    notes = {"imported": {"file": Path(file).name, "format": format, "notes": report.notes}}
    save_folder(out, model, words, preprocessing, dtype, _card(Path(out), Path(file), format, model, report), notes)
    return report


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the answers {path} cannot be read ({error}); give a text file with one answer a line"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError(f"{path}:{number}: an empty line; give one answer a line in the classifier's order")
    return [line.strip() for line in lines]


def _tokenizer(asked: str | None, usual: str, vocab_size: int, report: Report) -> Tokenizer | None:
    try:
        found = Tokenizer.load(asked or usual)
    except ConfigError:
        if asked is not None:
            raise
        report.notes.append(
            f"no tokenizer.json was written, for {usual} could not be fetched from the hub: put its tokenizer.json into the "
            "folder, or import again with --tokenizer FOLDER"
        )
        return None
    if found.vocab_size != vocab_size:
        raise ConfigError(
            f"the tokenizer {asked or usual} has {found.vocab_size} tokens, the checkpoint {vocab_size}; "
            "name the one it was trained with (--tokenizer)"
        )
    return found


def _card(out: Path, file: Path, format: str, model: Model, report: Report) -> str:
    lines = [
        f"# {out.name}",
        "",
        f"Imported from `{file.name}` ({FORMATS[format].about}).",
        f"Heads: {', '.join(model.heads) or 'none'}. {len(report.mapped)} tensors mapped, {len(report.dropped)} dropped.",
        *[f"\nNote: {note}." for note in report.notes],
        "",
        f"```python\nimport vlfuse\nmodel = vlfuse.load({str(out)!r})\n```",
    ]
    return "\n".join(lines) + "\n"
