"""What one model for every task costs: each task beside what the same weights reach when they go on with that task alone.

From the weights of the recipe `fiber-nano-last` every task is trained alone, with the lesson that the recipe has for it at every
step; prints its held-out score before (one model for all) and after (a model of its own). Finished runs in OUT are not repeated.

    python benchmarks/single_task.py [--weights fiber-nano] [--steps 150] [--only vqa grounding]
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tables import heading, line

from vlfuse.checkpoints.hub import shipped_models
from vlfuse.engine.log import LOG
from vlfuse.engine.run import Run
from vlfuse.recipes.execute import scores_of
from vlfuse.recipes.nano import drawn, fiber_nano_last, lessons
from vlfuse.recipes.sizes import size_of

# What of the recipe's lessons teaches a task, and the score it is judged by.
TASKS = {
    "vqa": ("asked", "accuracy"),
    "nlvr2": ("pairs", "accuracy"),
    "nlvr": ("single", "accuracy"),
    "entailment": ("entailment", "accuracy"),
    "retrieval": ("search", "two_stage_tr_r1"),
    "caption": ("captions", "others_cider_d"),
    "detection": ("regions", "AP"),
    "grounding": ("phrases", "recall@1"),
    "referring": ("expressions", "P@1"),
}


def alone(task: str, weights: str, steps: int, lr: float, out: Path) -> Run:
    lesson, _ = TASKS[task]
    run = fiber_nano_last(str(out / task), steps, weights)
    source = lessons(drawn(size_of("nano").image_size))[lesson]
    return replace(
        run,
        recipe=f"alone-{task}",
        sources=(source,),
        heads={head: settings for head, settings in run.heads.items() if head in source.heads},
        optim=replace(run.optim, lr=lr),
        evaluations=tuple(e for e in run.evaluations if (e.name or e.task) == task),
        seed=2,  # other scenes than those of the recipe
    )


def known(weights: str) -> dict[str, float]:
    """The held-out scores that the weights were released with."""
    log = Path(shipped_models().get(weights, Path(weights))) / LOG
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["scores"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="fiber-nano", help="what `vlfuse train fiber-nano-last` made")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--only", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--out", type=Path, default=Path("runs/single-task"))
    asked = parser.parse_args()
    before = known(asked.weights)
    table = heading(["task", "score", "every task", "alone", "difference"])
    for task in asked.only:
        score = f"{task}/{TASKS[task][1]}"
        own = scores_of(alone(task, asked.weights, asked.steps, asked.lr, asked.out))[score]
        percent = [f"{100 * value:.1f}" for value in (before[score], own)]
        table.append(line([task, TASKS[task][1], *percent, f"{100 * (own - before[score]):+.1f}"]))
        print(table[-1], flush=True)
    print("\n".join(["", f"{asked.steps} updates alone, percent", "", *table]))


if __name__ == "__main__":
    main()
