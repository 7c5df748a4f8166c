"""BridgeTower beside FIBER, with its bridges and without, at size nano on generated scenes.

Each learns by the protocol of the demo (`vlfuse/recipes/demo.py`: to see, to look, captions, questions; then questions, pairs and
captions, and here entailment, too), for the same steps, from several seeds; prints a table of means and standard deviations on scenes
that training never shows, and the pictures that were learnt from in a second. Finished runs in OUT are not repeated.

    python benchmarks/bridges.py [--share 1.0] [--seeds 0 1 2] [--held-out 400]
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from tables import heading, line, spread

from vlfuse.engine.log import LOG
from vlfuse.engine.run import Run, Source
from vlfuse.recipes.bridgetower import bridgetower_size
from vlfuse.recipes.demo import FINETUNE, PRETRAIN, finetune, pretrain
from vlfuse.recipes.execute import execute, finished, scores_of
from vlfuse.recipes.nano import held_out
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import Size, size_of

SCORES = {"vqa/accuracy": "questions", "nlvr2/accuracy": "pairs", "entailment/accuracy": "entailment", "retrieval/itc_tr_r1": "contrastive R@1", "retrieval/two_stage_tr_r1": "re-ranked R@1"}  # fmt: skip
TASKS = {score.partition("/")[0] for score in SCORES}


def unbridged() -> Size:
    size = bridgetower_size("nano")
    return replace(size, config=replace(size.config, bridge="none"))


SIZES: dict[str, Callable[[], Size]] = {
    "fiber-nano": lambda: size_of("nano"),
    "bridgetower-nano": lambda: bridgetower_size("nano"),
    "bridgetower-nano, no bridges": unbridged,
}


def stages(name: str, seed: int, share: float, number: int, out: Path) -> tuple[Run, Run]:
    size, folder = SIZES[name](), out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    first, second = pretrain(size, folder, round(PRETRAIN * share)), finetune(size, folder, round(FINETUNE * share))
    judged = scenes(size=size.image_size, seed=6, entailment=1, fields="statements")
    sources = (*second.sources, Source(judged, {"entailment": 1.0}, 8, statements=2, every=4, first=2))
    evaluations = tuple(e for e in held_out(size.image_size, number=number) if e.task in TASKS)
    return replace(first, seed=seed), replace(second, seed=seed, sources=sources, evaluations=evaluations)


def pace(run: Run) -> float:
    """Pictures a second, the median of what the log says."""
    rows = [json.loads(row) for row in (Path(run.out) / LOG).read_text(encoding="utf-8").splitlines()]
    return median(row["images_per_second"] for row in rows if "images_per_second" in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the demo's steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--only", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--out", type=Path, default=Path("runs/bridges"))
    asked = parser.parse_args()
    table = heading(["model", *SCORES.values(), "pictures/s"])
    for name in asked.only:
        values: dict[str, list[float]] = {score: [] for score in SCORES}
        paces = []
        for seed in asked.seeds:
            first, second = stages(name, seed, asked.share, asked.held_out, asked.out)
            if not finished(first):
                execute(first, resume=True)
            scores = scores_of(second)
            for score, own in values.items():
                own.append(scores[score])
            paces.append(pace(second))
        table.append(line([name, *map(spread, values.values()), f"{median(paces):.0f}"]))
        print(table[-1], flush=True)
    print("\n".join(["", f"seeds {asked.seeds}, {asked.share:g} of the demo's steps, percent", "", *table]))


if __name__ == "__main__":
    main()
