"""The demo: a small model learns generated scenes from nothing, and a page shows what it can do afterwards."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from vlfuse.checkpoints.folder import load_folder
from vlfuse.checkpoints.hub import shipped_models
from vlfuse.data.files import write_json
from vlfuse.data.scenes.balance import Balance, measure
from vlfuse.engine.distributed import start
from vlfuse.engine.run import Evaluation, Run, Source
from vlfuse.recipes.asked import fresh
from vlfuse.recipes.demo_page import page
from vlfuse.recipes.execute import MODEL, execute, finished, read_scores, score
from vlfuse.recipes.fine import HEAD, SMALL_AVERAGE, boxes_of_scenes, found_in_scenes
from vlfuse.recipes.pretrain import READ, SEE, SMALL_MASK, SPOT, first_lessons, small_optim
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import Size, size_of
from vlfuse.report import Row, write_report

MINUTES = 13.0  # that the steps below took on two cores, evaluations included
PRETRAIN, FINETUNE, FINE = 1300, 220, 220
HELD_OUT, GALLERY = 400, 200  # scenes that the results are measured on, pictures searched
SHIPPED = "fiber-nano"
WORDS_ALONE = "text_only.json"


def pretrain(size: Size, out: Path, steps: int) -> Run:
    """To see, to look, and then to tell pictures apart by their captions and answer the first questions."""
    px = size.image_size
    to_look, to_ask = round(steps * 0.47), round(steps * 0.8)
    told = scenes(size=px, captions=2, fields="captions+phrases")
    asked = scenes(size=px, seed=5, questions=5, fields="questions+regions")
    searched = scenes(size=px, seed=1, captions=1, fields="captions")
    return Run(
        recipe="demo-pretrain",
        out=str(out / "pretrain"),
        steps=steps,
        sources=(
            *first_lessons(px, to_look, to_ask),
            Source(told, READ, 16, captions=1, mask_probability=SMALL_MASK, every=3, first=to_ask),
            Source(asked, SEE | SPOT | {"vqa": 1.0}, 16, questions=5, regions=6, queries=2, first=to_ask),
            Source(searched, {"itc": 1.0, "itm": 1.0}, 32, captions=1, every=4, first=to_ask),
        ),
        # The rate does not fall before the questions have come.
        optim=replace(small_optim(size.pretrain_lr), schedule="constant"),
        heads={"vqa": {"single": True}},
        workers=1,
        save_every=100,
        **fresh(size),
    )


def finetune(size: Size, out: Path, steps: int) -> Run:
    """Questions of every kind and pairs; captions go on, for searching."""
    px = size.image_size
    return Run(
        recipe="demo-finetune",
        out=str(out / "finetune"),
        steps=steps,
        sources=(
            Source(scenes(size=px, seed=2, questions=5, fields="questions"), {"vqa": 1.0}, 16, questions=5),
            Source(scenes(size=px, seed=3, paired=1), {"nlvr2": 1.0}, 8, statements=2, every=4),
            Source(scenes(size=px, seed=4, captions=1, fields="captions"), {"itc": 1.0, "itm": 1.0}, 32, 1, every=2),
        ),
        optim=small_optim(size.finetune_lr),
        evaluations=held_out(px),
        heads={"vqa": {"single": True}},
        init=str(out / "pretrain" / MODEL),
        workers=1,
        save_every=100,
    )


def fine(size: Size, out: Path, steps: int) -> Run:
    """Boxes for what the first run learnt to see: classes, phrases of captions and expressions."""
    px = size.image_size
    return Run(
        recipe="demo-fine",
        out=str(out / "fine"),
        steps=steps,
        sources=boxes_of_scenes(px),
        optim=small_optim(size.pretrain_lr),
        evaluations=found_in_scenes(px, GALLERY),
        heads={"grounding": HEAD["nano"]},
        average=SMALL_AVERAGE,
        init=str(out / "pretrain" / MODEL),
        workers=1,
        save_every=100,
    )


def held_out(px: int) -> tuple[Evaluation, ...]:
    return (
        Evaluation("vqa", scenes(HELD_OUT, size=px, split="test", fields="questions")),
        Evaluation("nlvr2", scenes(HELD_OUT, size=px, split="test", paired=1)),
        Evaluation("retrieval", scenes(GALLERY, size=px, split="test", captions=1, fields="captions")),
    )


def stages(out: Path, minutes: float = MINUTES, size: Size | None = None) -> list[Run]:
    """The runs of the demo in order; the first is where the others start."""
    size, share = size or size_of("nano"), minutes / MINUTES
    makers = ((pretrain, PRETRAIN), (finetune, FINETUNE), (fine, FINE))
    return [make(size, out, max(1, round(steps * share))) for make, steps in makers]


def demo(out: Path, minutes: float = MINUTES, size: Size | None = None) -> Path:
    """Run the stages that are not finished in `out`, and write `metrics.json` and `report.html` there; returns the page.

    May be called in every process that torchrun started: they train together, and the first of them writes.
    """
    started = time.monotonic()
    world, runs, page_file = start(), stages(out, minutes, size), out / "report.html"
    for number, run in enumerate(runs, start=1):
        heads = ", ".join(dict.fromkeys(head for source in run.sources for head in source.heads))
        done = finished(run)
        if world.main:
            about = "done already" if done else f"{run.steps} steps of {heads}"
            print(f"[{number}/{len(runs) + 1}] {run.recipe}: {about}", flush=True)
        if not done:
            execute(run, resume=True, command="vlfuse demo")
    if world.main:
        print(f"[{len(runs) + 1}/{len(runs) + 1}] {SHIPPED} and the words alone on the same, and the page", flush=True)
    known = shipped(runs)  # scored by all processes together
    if not world.main:
        return page_file
    scores = {name: value for run in runs for name, value in read_scores(run.out).items()}
    rows = table(scores, words_alone(out), known)
    results = {"minutes": round((time.monotonic() - started) / 60, 2), "rows": [asdict(row) for row in rows]}
    results |= {"scores": scores, "steps": {run.recipe: run.steps for run in runs}}
    write_json(out / "metrics.json", results)
    write_report(page(runs, rows), page_file)
    return page_file


def words_alone(out: Path) -> dict[str, Balance]:
    """What a reader of the words alone reaches; measured once for a folder."""
    file = out / WORDS_ALONE
    if not file.is_file():
        write_json(file, {kind: asdict(measure(kind)) for kind in ("questions", "pairs")})
    return {kind: Balance(**values) for kind, values in json.loads(file.read_text(encoding="utf-8")).items()}


def shipped(runs: Sequence[Run]) -> dict[str, float]:
    """The scores of the shipped model on what `runs` were evaluated on; none where this copy of the package has no such model."""
    folder = shipped_models().get(SHIPPED)
    if folder is None:
        return {}
    loaded, found = load_folder(folder), {}
    for evaluation in (evaluation for run in runs for evaluation in run.evaluations):
        scores = score(loaded, evaluation.task, evaluation.data)
        found |= {f"{evaluation.task}/{name}": value for name, value in scores.items()}
    return found


def table(scores: dict[str, float], blind: dict[str, Balance], shipped: dict[str, float]) -> tuple[Row, ...]:
    def row(task: str, metric: str, key: str, chance: str, text_only: float | None = None) -> Row:
        return Row(task, metric, scores[key], scores[chance], text_only, shipped.get(key))

    rows = [
        row("Questions", "accuracy", "vqa/accuracy", "vqa/majority", blind["questions"].accuracy),
        row("Pairs", "accuracy", "nlvr2/accuracy", "nlvr2/majority", blind["pairs"].accuracy),
    ]
    for direction, name in (("ir", "Sentence to picture"), ("tr", "Picture to sentence")):
        for how, words in (("itc", "contrastive"), ("two_stage", "re-ranked with fusion")):
            key, chance = f"retrieval/{how}_{direction}_r1", f"retrieval/chance_{direction}_r1"
            rows.append(row(f"{name}, {words}", "recall at 1", key, chance))
    found = (
        ("Things of a class", "AP at IoU 0.5", "detection/AP50"),
        ("Things of a class", "AP", "detection/AP"),
        ("Phrases of a caption", "recall at 1", "grounding/recall@1"),
        ("The one thing meant", "accuracy", "referring/P@1"),
    )
    rows += [Row(task, metric, scores[key], shipped=shipped.get(key)) for task, metric, key in found]
    return tuple(rows)
