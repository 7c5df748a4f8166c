"""From a run's configuration to what `train` needs: model, tokenizer, loaders and evaluators."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vlfuse.checkpoints import bridgetower
from vlfuse.checkpoints.config import config_from_dict, config_to_dict, unknown
from vlfuse.checkpoints.fiber_coarse import at_resolution, resolution_of
from vlfuse.checkpoints.folder import HEADS, ModelConfig, Preprocessing, build_model
from vlfuse.checkpoints.hub import load_model
from vlfuse.checkpoints.mapping import require_fit
from vlfuse.checkpoints.resize import resize_bias_table
from vlfuse.data.answers import AnswerList, normalize_word
from vlfuse.data.classes import class_names
from vlfuse.data.loader import Loader
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset, open_dataset
from vlfuse.data.scenes import ANSWERS, SceneDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.engine.distributed import World
from vlfuse.engine.evaluate import CANDIDATES, EVALUATIONS
from vlfuse.engine.loaders import check_texts, evaluation_loader, source_loader
from vlfuse.engine.optimiser import freeze
from vlfuse.engine.run import Evaluation, Run
from vlfuse.engine.train import Evaluator
from vlfuse.metrics.caption import CiderD
from vlfuse.systems.base import Model, System
from vlfuse.systems.bridgetower import BridgeTower
from vlfuse.systems.fiber import Fiber
from vlfuse.tasks.captioning import Captioning, Learning
from vlfuse.tasks.retrieval import fold_size
from vlfuse.tasks.vqa import Vqa
from vlfuse.types import CheckpointError, ConfigError, DataError

ANSWERS_OF = {"questions": "answers", "statements": "label"}  # without which they cannot be scored
COUNTED, COUNTED_SCENES = 200_000, 2_000  # samples whose captions tell how rare words are


@dataclass(frozen=True)
class Built:
    model: Model
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    loaders: tuple[Loader, ...]
    evaluators: tuple[Evaluator, ...]


def build(run: Run, world: World | None = None) -> Built:
    """Everything `train(run, built.model, built.loaders, built.evaluators)` needs. Weights are seeded by `run.seed`."""
    world = world or World()
    datasets = {spec: open_dataset(spec) for spec in {s.data for s in run.sources} | {e.data for e in run.evaluations}}
    model, tokenizer, preprocessing = build_start(run, datasets)
    if "caption" in model.heads:
        teach_captioning(run, model, tokenizer, preprocessing, datasets)
    check_texts(run, model)
    freeze(model, run.optim)
    loaders = tuple(
        source_loader(run, s, datasets[s.data], model, tokenizer, preprocessing, world) for s in run.sources
    )
    evaluators = tuple(evaluator_of(run, e, datasets[e.data], tokenizer, preprocessing, world) for e in run.evaluations)
    return Built(model, tokenizer, preprocessing, loaders, evaluators)


def build_start(run: Run, datasets: dict[str, Dataset]) -> tuple[Model, Tokenizer, Preprocessing]:
    """The model a run starts from: fresh, or a released one with the heads of this run."""
    names = sorted({head for source in run.sources for head in source.heads})
    for head in names:
        if head not in HEADS:
            raise ConfigError(unknown(f"head '{head}'", head, HEADS))
    for head in run.heads:
        if head not in names:
            raise ConfigError(
                f"run.heads has settings for '{head}', which no source trains; sources train {', '.join(names)}"
            )
    torch.manual_seed(run.seed)
    if run.init:
        return build_on(run, names, datasets)
    tokenizer = Tokenizer.load(run.tokenizer)
    preprocessing = Preprocessing(run.image_size, run.max_text, keep_aspect=run.keep_aspect, crop=bool(run.crop))
    if run.mean:
        preprocessing = replace(preprocessing, mean=tuple(run.mean), std=tuple(run.std))
    settings = {name: head_settings(run, name, datasets, tokenizer) for name in names}
    model = build_model(ModelConfig(run.system, run.config, settings, preprocessing))
    return model, tokenizer, preprocessing


def build_on(run: Run, names: list[str], datasets: dict[str, Dataset]) -> tuple[Model, Tokenizer, Preprocessing]:
    """A released model whose heads are exactly `names`: trained ones are kept, others are new."""
    loaded = load_model(run.init)
    if loaded.tokenizer is None:
        raise CheckpointError(
            f"{run.init} has no tokenizer.json; put the file of the model's tokenizer into its folder"
        )
    given, old = loaded.preprocessing, loaded.model
    preprocessing = replace(
        given,
        size=run.image_size or given.size,
        max_text=run.max_text or given.max_text,
        keep_aspect=run.keep_aspect or given.keep_aspect,
        crop=given.crop and not run.keep_aspect if run.crop is None else run.crop,
    )
    settings = {name: head_settings(run, name, datasets, loaded.tokenizer) for name in names}
    for name in names:
        if name in old.heads and name not in run.heads and name not in ("vqa", "caption"):
            settings[name] = loaded.config.heads[name]
    # What looks for regions slides its windows over pictures of any size, as published; only whole pictures in one size
    # have windows that grow with them.
    after = given.size if "grounding" in names else preprocessing.size
    config, tensors = at_image_size(old.system, given.size, after)
    model = build_model(replace(loaded.config, config=config, heads=settings))
    require_fit(model.system.state_dict(), tensors, run.init)
    model.system.load_state_dict(tensors)
    for name in names:
        if name in old.heads:
            carry(old.head(name), model.head(name))
        elif name == "caption" and "mlm" in old.heads:
            for part in ("dense", "norm", "decoder"):  # words are words, whether filled in or written one by one
                carry(old.head("mlm").get_submodule(part), model.head(name).get_submodule(part))
    return model, loaded.tokenizer, preprocessing


def at_image_size(system: System, before: int, after: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights for pictures of another size. Where windows tile the picture as published they grow
    with it, and their bias tables with them; otherwise they stay, and the picture is padded to them.
    Absolute positions stretch."""
    config, tensors = system.config, system.state_dict()  # type: ignore[attr-defined]
    if isinstance(system, Fiber) and before != after and resolution_of(config) == before:  # type: ignore[arg-type]
        config = at_resolution(config, after)  # type: ignore[arg-type]
        for name in [name for name in tensors if name.endswith("bias_table")]:
            tensors[name] = resize_bias_table(tensors[name], config.swin.window)
    if isinstance(system, BridgeTower) and before != after:
        config = bridgetower.at_resolution(config, after, tensors)  # type: ignore[arg-type]
    return config_to_dict(config), tensors


@torch.no_grad()
def carry(old: nn.Module, new: nn.Module) -> None:
    """Copy what a trained head knows into a new one of its kind. Answers that both know keep their rows."""
    if isinstance(old, Vqa) and isinstance(new, Vqa):
        known = {normalize_word(answer): row for row, answer in enumerate(old.answers)}
        rows = [(row, known[key]) for row, key in enumerate(map(normalize_word, new.answers)) if key in known]
        state, wanted = old.state_dict(), new.state_dict()
        last = f"classifier.{len(new.classifier) - 1}."
        for name, tensor in wanted.items():
            if not name.startswith(last):
                tensor.copy_(state[name])
            elif rows:
                to, of = (torch.tensor(column) for column in zip(*rows, strict=True))
                tensor[to] = state[name][of]
    elif all(
        tensor.shape == new.state_dict().get(name, tensor[None]).shape for name, tensor in old.state_dict().items()
    ):
        new.load_state_dict(old.state_dict())


def head_settings(run: Run, head: str, datasets: dict[str, Dataset], tokenizer: Tokenizer) -> dict[str, Any]:
    """Settings from the run; the answers of a question head come from its training data unless given. Those of
    captioning say how it learns; what belongs to the model is its tokenizer's frame."""
    if head == "caption":
        never = [tokenizer.mask_id, tokenizer.unk_id]
        return {"start": tokenizer.bos_id, "end": tokenizer.eos_id, "pad": tokenizer.pad_id, "never": never}
    settings = dict(run.heads.get(head, {}))
    if head == "vqa" and "answers" not in settings:
        least = settings.pop("min_count", 1)
        settings["answers"] = known_answers([datasets[s.data] for s in run.sources if "vqa" in s.heads], least)
    return settings


def teach_captioning(
    run: Run, model: Model, tokenizer: Tokenizer, given: Preprocessing, datasets: dict[str, Dataset]
) -> None:
    """Tell the captioning head how it learns (`run.heads`) and give it what that takes."""
    head: Captioning = model.head("caption")  # type: ignore[assignment]
    head.lend(tokenizer.decode, given.max_text)
    head.learning = config_from_dict(Learning, dict(run.heads.get("caption", {})), "run.heads.caption")
    if head.learning.by == "cider" and head.learning.frequencies:
        try:
            head.reward = CiderD.load(head.learning.frequencies)
        except (OSError, ValueError) as error:
            raise DataError(f"the document frequencies {head.learning.frequencies} cannot be read: {error}") from error
    elif head.learning.by == "cider":
        sources = [datasets[source.data] for source in run.sources if "caption" in source.heads]
        head.reward = CiderD.of([head.words(text) for text in group] for group in some_captions(sources))


def some_captions(datasets: Iterable[Dataset]) -> Iterator[tuple[str, ...]]:
    """The captions of samples spread evenly over data sets; of scenes, which are drawn as they are read, fewer."""
    for dataset in datasets:
        most = COUNTED_SCENES if isinstance(dataset, SceneDataset) else COUNTED
        for index in range(0, len(dataset), max(1, len(dataset) // most)):
            with suppress(SampleError):  # training leaves it out, too, and counts it
                yield dataset[index].captions


def known_answers(datasets: Iterable[Dataset], min_count: int) -> tuple[str, ...]:
    """Answers that are the most frequent one of at least `min_count` questions, in order of appearance; of scenes, all
    there can be. Spellings that clean up alike are one answer."""
    found: dict[str, str] = {}
    for dataset in datasets:
        if isinstance(dataset, SceneDataset):
            answers = ANSWERS
        else:
            answers = AnswerList.from_samples((dataset[i] for i in range(len(dataset))), min_count).answers
        for answer in answers:
            found.setdefault(normalize_word(answer), answer)
    return tuple(found.values())


def evaluator_of(
    run: Run, wanted: Evaluation, dataset: Dataset, tokenizer: Tokenizer, given: Preprocessing, world: World
) -> Evaluator:
    if wanted.task not in EVALUATIONS:
        raise ConfigError(unknown(f"evaluation '{wanted.task}'", wanted.task, EVALUATIONS))
    task = EVALUATIONS[wanted.task]
    require_scored(wanted, dataset)
    loader = evaluation_loader(
        task.reads,
        dataset,
        tokenizer,
        given.at(wanted.image_size),
        wanted.batch_size,
        blind=run.blind,
        strict=run.strict,
        world=world if task.shared else World(),
    )
    scores = scoring(wanted.task, dataset, tokenizer, given)
    return Evaluator(wanted.name or wanted.task, lambda model: scores(model, loader, world), wanted.every)


def require_scored(wanted: Evaluation, dataset: Dataset) -> None:
    """Raise DataError where an evaluation has nothing to score, before the run and not after it."""
    reads = "regions" if wanted.task == "detection" else EVALUATIONS[wanted.task].reads
    answer = ANSWERS_OF.get(reads)
    for index in range(len(dataset)):
        with suppress(SampleError):  # evaluation leaves it out, too, and counts it
            if any(answer is None or getattr(item, answer) for item in getattr(dataset[index], reads)):
                return
    what = f"{reads} with {answer}" if answer else reads
    raise DataError(
        f"{wanted.data} has no {what}, by which {wanted.task} is scored; name other data, or evaluate nothing"
    )


def scoring(
    task: str,
    dataset: Dataset,
    tokenizer: Tokenizer,
    given: Preprocessing,
    candidates: int = CANDIDATES,
    folds: int = 1,
) -> Callable[..., dict[str, float]]:
    """How a task of EVALUATIONS is scored on a data set, given model, loader and world.
    Detection looks for the classes of the set; retrieval searches in `folds` of it and re-ranks so many `candidates` of each query."""
    scores = EVALUATIONS[task].scores
    if task == "retrieval":
        fold_size(len(dataset), folds)  # refused before hours of encoding
        return partial(scores, candidates=candidates, folds=folds)
    if task == "detection":
        return partial(scores, tokenizer=tokenizer, max_text=given.max_text, names=class_names(dataset))
    if task in ("grounding", "referring"):
        return partial(scores, tokenizer=tokenizer, max_text=given.max_text)
    return scores
