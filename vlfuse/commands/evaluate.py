"""`vlfuse eval TASK`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from vlfuse.checkpoints.hub import load_model
from vlfuse.data.files import write_json
from vlfuse.engine.distributed import start
from vlfuse.engine.evaluate import CANDIDATES
from vlfuse.recipes.execute import answers, score
from vlfuse.types import ConfigError

METRICS, SUBMISSION = Path("metrics.json"), Path("submission.json")
REGIONS = {"detection": "pictures", "grounding": "phrases", "referring": "expressions"}  # what is counted


def run(
    task: Positional[
        Literal["vqa", "nlvr2", "nlvr", "entailment", "retrieval", "caption", "detection", "grounding", "referring"]
    ],
    model: str,
    data: str,
    out: Path = METRICS,
    batch_size: int = 64,
    device: str = "auto",
    strict: bool = False,
    submission: bool = False,
    candidates: int = CANDIDATES,
    folds: int = 1,
) -> None:
    """Score a model on a task, beside what guessing reaches.

    Args:
        task: What to score.
        model: A name, a folder or a hub id.
        data: FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES or scenes:N,split=test.
        out: File for the scores.
        batch_size: Samples at once.
        device: auto, cpu, cuda.
        submission: Score nothing, but write the answers as evaluation servers take them (vqa, caption); by default to
            `submission.json`.
        candidates: Of retrieval, how many of each query are re-ranked by fusion.
        folds: Of retrieval, search in so many equal parts of the data and average; 5 of COCO's 5,000 test pictures is its 1K protocol.
        strict: Stop at the first unusable sample; otherwise such are left out and counted.
    """
    if candidates != CANDIDATES and task != "retrieval":
        raise ConfigError(f"--candidates {candidates} would be ignored: {task} re-ranks nothing, retrieval does")
    if folds != 1 and task != "retrieval":
        raise ConfigError(f"--folds {folds} would be ignored: {task} is scored on the whole, retrieval may be in parts")
    if candidates < 1:
        raise ConfigError(f"--candidates is {candidates}; it must be 1 or more")
    loaded = load_model(model)
    if submission:
        rows = answers(loaded, task, data, batch_size, device, strict)
        if start(device).main:
            write(out if out != METRICS else SUBMISSION, rows)
        return
    scores = score(loaded, task, data, batch_size, device, strict, candidates, folds)
    if start(device).main:
        Console().print(table(task, scores))
        write(out, {"task": task, "model": model, "data": data, **scores})


def write(out: Path, content: Any) -> None:
    write_json(out, content)
    print(f"wrote {out}")


def table(task: str, scores: dict[str, float]) -> Table:
    """Scores in percent beside the share of the most frequent answer, or the recall of a random order."""
    if task == "retrieval":
        return _retrieval(scores)
    if task == "caption":
        return _caption(scores)
    if task in REGIONS:
        return _regions(task, scores)
    result = Table("metric", "percent", "most frequent answer", title=f"{task}: {scores['count']:.0f} texts")
    for name, value in scores.items():
        if name not in ("count", "majority"):
            result.add_row(name, f"{100 * value:.1f}", f"{100 * scores['majority']:.1f}" if name == "accuracy" else "")
    return result


def _regions(task: str, scores: dict[str, float]) -> Table:
    """COCO marks with -1 what it cannot say, such as the AP of large things where there are none."""
    result = Table("metric", "x 100", title=f"{task}: {scores['count']:.0f} {REGIONS[task]}")
    for name, value in scores.items():
        if name != "count":
            result.add_row(name, f"{100 * value:.1f}" if value >= 0 else "-")
    return result


def _caption(scores: dict[str, float]) -> Table:
    """Times 100, as the literature gives them; CIDEr-D beside that of a person's caption against the others'."""
    result = Table("metric", "x 100", "a person's", title=f"caption: {scores['count']:.0f} pictures")
    for name in ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d"):
        result.add_row(name, f"{100 * scores[name]:.1f}", "")
    if "others_cider_d" in scores:
        both = [f"{100 * scores[f'{of}_cider_d']:.1f}" for of in ("others", "reference")]
        result.add_row("cider_d without the first caption", *both)
    return result


def _retrieval(scores: dict[str, float]) -> Table:
    title = f"retrieval: {scores['images']:.0f} pictures, {scores['captions']:.0f} captions; percent"
    title += f", mean of {scores['folds']:.0f} parts" if scores["folds"] > 1 else ""
    result = Table(
        "direction", "ranked by", "recall at 1", "at 5", "at 10", "median rank", "at 1 by chance", title=title
    )
    for direction, name in (("ir", "picture"), ("tr", "caption")):
        for how, words in (("itc", "similarity"), ("matched", "fusion alone"), ("two_stage", "both")):
            if f"{how}_{direction}_r1" in scores:
                recalls = [f"{100 * scores[f'{how}_{direction}_r{k}']:.1f}" for k in (1, 5, 10)]
                chance = f"{100 * scores[f'chance_{direction}_r1']:.2f}"
                result.add_row(name, words, *recalls, f"{scores[f'{how}_{direction}_median_rank']:g}", chance)
    return result


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse eval", args=arguments)
