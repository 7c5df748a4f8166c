"""The configuration of a training run: all that is needed to repeat it, saved beside its results as `run.json`."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import fsspec

from vlfuse import __version__
from vlfuse.checkpoints.config import config_from_dict, config_to_dict
from vlfuse.data.files import expand, joined, write_json
from vlfuse.types import ConfigError, DataError

RUN = "run.json"
FINGERPRINT_BYTES = 2**20


def _check(good: bool, name: str, value: Any, allowed: str) -> None:
    if not good:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}")


def _used(good: bool, name: str, why: str) -> None:
    if not good:
        raise ConfigError(f"{name} is set but would be ignored: {why}")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        _check(getattr(config, name) > 0, f"{type(config).__name__.lower()}.{name}", getattr(config, name), "above 0")


@dataclass(frozen=True)
class Optim:
    """AdamW and its schedule. The defaults are FIBER's, but for the rate, which depends on size and batch.

    lr: of the pre-trained parts; heads and the parts that join the modalities learn `head_multiplier` and
    `cross_multiplier` times as fast, the image backbone `image_multiplier` times. warmup: share of the run below 1,
    number of steps from 1 on. end_lr: where the schedule ends. power: of schedule "poly". clip_norm: None for no
    clipping, as published. published: the arithmetic of the AdamW that FIBER and BridgeTower were trained with (decay
    after the update, epsilon before the bias correction) and their choice of what decays, gates and some norms
    included. doubled_biases: groups of FIBER's fine stage: biases of every kind learn twice as fast and do not decay,
    all else does; the backbones with what joins them learn at their own pace (lr for the text, image_multiplier), the
    heads at theirs. decay_drops: let the weight decay drop as in that stage. frozen:
    beginnings of names of parameters that stay as they are.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    head_multiplier: float = 5.0
    cross_multiplier: float = 5.0
    image_multiplier: float = 1.0
    schedule: Literal["linear", "poly", "cosine", "constant", "steps"] = "linear"
    power: float = 1.0
    warmup: float = 0.1
    end_lr: float = 0.0
    clip_norm: float | None = None
    published: bool = False
    doubled_biases: bool = False
    decay_drops: bool = False
    frozen: tuple[str, ...] = ()

    def __post_init__(self):
        _positive(self, "lr", "eps", "head_multiplier", "cross_multiplier", "image_multiplier", "power")
        _check(self.warmup >= 0, "optim.warmup", self.warmup, "a share of the run in [0, 1), or a number of steps")
        _check(0 <= self.end_lr <= self.lr, "optim.end_lr", self.end_lr, f"between 0 and lr ({self.lr})")
        _check(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "0 or above")
        _check(
            self.clip_norm is None or self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "above 0, or null for none"
        )
        _check(all(0 <= beta < 1 for beta in self.betas), "optim.betas", self.betas, "two numbers in [0, 1)")
        _used(self.power == 1.0 or self.schedule == "poly", "optim.power", f"schedule '{self.schedule}' has no power")
        ends = self.schedule not in ("constant", "steps")
        _used(self.end_lr == 0 or ends, "optim.end_lr", f"schedule '{self.schedule}' does not end there")
        _used(not (self.published and self.doubled_biases), "optim.doubled_biases", "published has groups of its own")


@dataclass(frozen=True)
class Boxes:
    """How pictures with boxes become texts with what they name, for the head `grounding`; see `vlfuse.data.grounding`.

    reads: "phrases" of captions, "expressions", or "regions", which make a prompt of classes; empty for other heads.
    texts: of phrases and expressions, how many texts a sample gives at most. shots: of regions, train on pictures with
    about so many of each class instead of all; which ones, the run's seed says. negatives: of regions, ask for at most
    so many classes that are not there beside those that are; 0 asks for all classes always, where one prompt holds
    them. scales: lengths of the short side, one drawn for each sample; none: the image size of the run. longest: of the
    long side; 0: five thirds of the longest short one, as published. crop: half of the time, a random part that cuts no
    box. flip: share of pictures that are mirrored; sides: where a text names left or right, withhold that,
    or swap the words.
    """

    reads: Literal["", "phrases", "expressions", "regions"] = ""
    texts: int = 1
    shots: int = 0
    negatives: int = 0
    scales: tuple[int, ...] = ()
    longest: int = 0
    crop: bool = False
    flip: float = 0.0
    sides: Literal["withhold", "swap"] = "withhold"

    def __post_init__(self):
        _positive(self, "texts")
        for name in ("shots", "negatives"):
            value = getattr(self, name)
            _check(value >= 0, f"boxes.{name}", value, "0 or above")
            _used(
                not value or self.reads == "regions", f"boxes.{name}", f"only regions have classes, not '{self.reads}'"
            )
        untouched = all(getattr(self, f.name) == f.default for f in fields(self))
        _used(bool(self.reads) or untouched, "source.boxes", "nothing is read; set boxes.reads")


@dataclass(frozen=True)
class Source:
    """Data, and what is learnt from it. A step takes one batch from every source whose turn it is
    and sums their losses.

    data: as `vlfuse.data.readers.open_dataset` understands it. heads: name -> weight of its loss.
    batch_size: samples per update, over all processes and accumulated passes. every: takes part in every n-th step,
    from step `first` until before step `last` (0: the end).
    captions, questions, statements, regions: how many of a kind each sample gives, at random; exactly the kinds that
    the heads read. queries: descriptions made of the words of a sample's regions, with all that they fit.
    mask_probability: of the captions' tokens, for masked language modelling. image_size: of its pictures; 0: the run's.
    augment: "none" shows the whole picture, "crop" takes a random part, "randaugment" distorts it further as FIBER
    does, "randaugment-mild" as BridgeTower for questions, "randaugment-pil" as BridgeTower for all else;
    flip: mirror half of the pictures, for texts that name no sides. boxes: for the head `grounding`, which has a source
    of its own, in place of all that is said here of texts and pictures.
    """

    data: str
    heads: dict[str, float]
    batch_size: int
    captions: int = 0
    questions: int = 0
    statements: int = 0
    regions: int = 0
    queries: int = 0
    image_size: int = 0
    every: int = 1
    first: int = 0
    last: int = 0
    mask_probability: float = 0.15
    augment: Literal["none", "crop", "randaugment", "randaugment-mild", "randaugment-pil"] = "none"
    flip: bool = False
    boxes: Boxes = Boxes()

    def __post_init__(self):
        _positive(self, "batch_size", "every")
        _check(bool(self.heads), "source.heads", self.heads, "at least one head and its loss weight")
        _check(
            all(w > 0 for w in self.heads.values()),
            "source.heads",
            self.heads,
            "weights above 0; leave a head out instead",
        )
        _check(self.image_size >= 0, "source.image_size", self.image_size, "a number of pixels, or 0 for the run's")
        _check(self.first >= 0, "source.first", self.first, "a step, 0 for the first")
        _check(self.last == 0 or self.last > self.first, "source.last", self.last, f"0 (the end) or above {self.first}")
        _used(not self.flip or self.augment != "none", "source.flip", "augment 'none' does not mirror; use 'crop'")
        if self.boxes.reads:
            for name in ("captions", "questions", "statements", "regions", "queries"):
                _used(not getattr(self, name), f"source.{name}", "boxes.reads says what this source gives")
            _used(not self.image_size, "source.image_size", "boxes.scales says how large these pictures are")
            _used(self.augment == "none", "source.augment", "boxes.scales, crop and flip are for pictures with boxes")

    def has_turn(self, step: int) -> bool:
        return self.first <= step < (self.last or step + 1) and (step - self.first) % self.every == 0


@dataclass(frozen=True)
class Evaluation:
    """A task of `vlfuse.engine.evaluate.EVALUATIONS` on held-out data, every n steps (0: at the end only).

    image_size: of its pictures; 0: the run's.
    """

    task: str
    data: str
    every: int = 0
    batch_size: int = 64
    image_size: int = 0
    name: str = ""  # in the log and in metrics.json; by default the task

    def __post_init__(self):
        _positive(self, "batch_size")
        _check(self.image_size >= 0, "evaluation.image_size", self.image_size, "a number of pixels, or 0 for the run's")
        _check(self.every >= 0, "evaluation.every", self.every, "0 (at the end) or a number of steps")


@dataclass(frozen=True)
class Run:
    """A whole training run.

    A fresh model is `system` with its configuration `config` and settings of heads (`heads`: name -> settings) and the
    `tokenizer`; or `init` names the folder of a released model to go on from, whose system, tokenizer, image size and
    text length are kept unless given here; its heads stay where sources use them. Settings of a head are those of its
    class; without `answers`, vqa takes them from its training data, those of at least `min_count` (1) questions.
    keep_aspect: pictures keep their shape and get as many pixels as a square of image_size has, for sources without
    augmentation. crop: of pictures without augmentation only the middle square is shown; null keeps what the model of
    `init` does. mean, std: of the pictures' channels, for normalisation; empty for ImageNet's. A model of `init` keeps
    its own. average: evaluate and release a running average of the weights that keeps this share of itself at every
    update, as 0.999; 0 for none. accumulate: passes per update. workers: processes that prepare data. save_every, keep:
    checkpoints, and how many of the last to keep. best: the score ("evaluation/metric") whose best checkpoint is kept
    and released. release: precision of the matrices in the released model; float16 halves its size.
    strict: stop at the first unusable sample. blind: hide the pictures, in training and evaluation: what the text alone
    gives away. compile, activation_checkpointing: speed and memory, not results.
    """

    recipe: str
    out: str
    steps: int
    sources: tuple[Source, ...]
    optim: Optim = field(default_factory=Optim)
    evaluations: tuple[Evaluation, ...] = ()
    system: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokenizer: str = ""
    init: str = ""
    image_size: int = 0
    keep_aspect: bool = False
    crop: bool | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    max_text: int = 0
    average: float = 0.0
    accumulate: int = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: str = "auto"
    seed: int = 0
    workers: int = 0
    save_every: int = 500
    keep: int = 2
    best: str = ""
    log_every: int = 10
    release: Literal["float32", "float16"] = "float32"
    tensorboard: bool = False
    compile: bool = False
    activation_checkpointing: bool = False
    strict: bool = False
    blind: bool = False

    def __post_init__(self):
        _positive(self, "steps", "accumulate", "save_every", "keep", "log_every")
        _check(0 <= self.average < 1, "run.average", self.average, "a share in [0, 1), as 0.999; 0 for none")
        _check(bool(self.sources), "run.sources", self.sources, "at least one source of data")
        changes = {0, *(s.first for s in self.sources), *(s.last for s in self.sources)}
        period = math.lcm(*(s.every for s in self.sources))  # after the last change, turns repeat
        for step in sorted({step for change in changes for step in range(change, min(change + period, self.steps))}):
            turns = [(s.first, s.last, s.every) for s in self.sources]
            good = any(s.has_turn(step) for s in self.sources)
            _check(
                good, "run.sources", turns, f"such (first, last, every) that each step has one; step {step} has none"
            )
        _check(bool(self.system) != bool(self.init), "run.system", self.system, "set, or `init`, not both")
        for source in self.sources:
            _check(
                source.batch_size % self.accumulate == 0,
                "source.batch_size",
                source.batch_size,
                f"a multiple of accumulate ({self.accumulate})",
            )
        _used(not self.init or not (self.mean or self.std), "run.mean", "the model of `init` has its own")
        _check(
            len(self.mean) == len(self.std) and len(self.mean) in (0, 3),
            "run.mean",
            self.mean,
            "three numbers, as for std, or none",
        )
        for source in self.sources:
            _used(
                not self.keep_aspect or source.augment == "none",
                "run.keep_aspect",
                f"augment '{source.augment}' makes squares",
            )
        _used(not (self.keep_aspect and self.crop), "run.crop", "keep_aspect shows the whole picture")
        names = [e.name or e.task for e in self.evaluations]
        _check(len(set(names)) == len(names), "run.evaluations", names, "evaluations of different names; set `name`")
        best = next((e for e in self.evaluations if (e.name or e.task) == self.best.split("/")[0]), None)
        _check(
            not self.best or best is not None,
            "run.best",
            self.best,
            f"an evaluation and its metric ({', '.join(names) or 'there is no evaluation'}), as in vqa/accuracy",
        )
        _used(best is None or best.every > 0, "run.best", "its evaluation runs at the end only; give it an `every`")


def save_run(run: Run) -> Path:
    """Write `run.json`: the run, the versions it ran with and fingerprints of its data."""
    path = Path(run.out) / RUN
    write_json(path, {"run": config_to_dict(run), "versions": versions(), "data": fingerprints(run)})
    return path


def load_run(folder: str | Path) -> Run:
    """The run saved in a folder. Raises ConfigError where the file holds what this version does not know."""
    return config_from_dict(Run, _read(Path(folder) / RUN).get("run"), f"{Path(folder) / RUN}: run")


# What may change when a run goes on: where and how it runs, not what it computes.
FREE = {"out", "device", "workers", "save_every", "keep", "log_every", "tensorboard", "activation_checkpointing", "evaluations", "best", "release"}  # fmt: skip


def require_same(run: Run) -> None:
    """Raise ConfigError unless the run in `run.out` may go on as `run`: same model, data, objectives and schedule."""
    saved, record = load_run(run.out), _read(Path(run.out) / RUN)
    changed = [
        f"{f.name}: {getattr(saved, f.name)!r} before, {getattr(run, f.name)!r} now"
        for f in fields(Run)
        if f.name not in FREE and getattr(saved, f.name) != getattr(run, f.name)
    ]
    if changed:
        raise ConfigError(
            f"cannot resume {run.out} with another configuration ({'; '.join(changed)}). Give the same one, or another --out"
        )
    now = fingerprints(run)
    for data, before in record.get("data", {}).items():
        if data in now and now[data] != before:
            raise ConfigError(f"cannot resume {run.out}: {data} has changed since the run began; give it another --out")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); is this the folder of a run?") from error


def versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "numpy", "pillow", "safetensors", "tokenizers")}
    return {"vlfuse": __version__, "python": platform.python_version(), **packages}


def fingerprints(run: Run) -> dict[str, Any]:
    """Size and SHA-256 of the first MiB of every data file of the run; generated data is its own description."""
    specs = sorted({s.data for s in run.sources} | {e.data for e in run.evaluations})
    return {spec: fingerprint(spec) for spec in specs if not spec.startswith("scenes:")}


def fingerprint(spec: str) -> dict[str, dict[str, Any]]:
    found = {}
    for pattern in joined(spec.partition("@")[0]):
        for path in expand(pattern):
            try:
                with fsspec.open(path, "rb") as file:
                    head = file.read(FINGERPRINT_BYTES)  # type: ignore[union-attr]
                    size = file.seek(0, os.SEEK_END)  # type: ignore[union-attr]
            except OSError as error:
                raise DataError(f"{path} cannot be read ({error})") from error
            found[path] = {"bytes": size, "sha256_head": hashlib.sha256(head).hexdigest()}
    return found
