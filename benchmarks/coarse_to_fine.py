"""Does the coarse stage pay? Fine training on few boxes from the coarse weights, against the same from random weights.

For every number of scenes with boxes and every seed two runs of the recipe `fiber-fine` of the same steps, evaluated on held-out
scenes; prints a table of means and standard deviations. Finished runs in OUT are not repeated.

    python benchmarks/coarse_to_fine.py --weights runs/fiber-nano/model [--boxes 250 1000 4000] [--seeds 0 1 2] [--steps 2000]
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tables import heading, line, spread

from vlfuse.engine.run import Run
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import scores_of
from vlfuse.recipes.fine import FIELDS, fiber_fine, found_in_scenes
from vlfuse.recipes.scenes import scenes
from vlfuse.recipes.sizes import size_of

SCORES = {"detection/AP50": "detection AP50", "detection/AP": "detection AP", "grounding/recall@1": "grounding recall@1", "referring/P@1": "referring accuracy"}  # fmt: skip
STARTS = ("coarse", "scratch")
SCENES = 7  # the seed of the scenes with boxes: the same few for all runs


def run_of(start: str, weights: str, boxes: int, seed: int, steps: int, held_out: int, out: Path) -> Run:
    asked = Asked(
        str(out / f"{start}-{boxes}-{seed}"), init=weights if start == "coarse" else "", size="nano", steps=steps
    )
    run, px = fiber_fine(asked), size_of("nano").image_size
    sources = tuple(
        replace(source, data=scenes(boxes, size=px, seed=SCENES, fields=FIELDS[source.boxes.reads]))
        for source in run.sources
    )
    return replace(run, sources=sources, evaluations=found_in_scenes(px, held_out), seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a model of the coarse stage")
    parser.add_argument("--boxes", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/coarse-to-fine"))
    asked = parser.parse_args()
    table = heading(["scenes with boxes, start", *SCORES.values()])
    found: dict[str, dict[str, list[float]]] = {}
    for boxes in asked.boxes:
        for start in STARTS:
            values: dict[str, list[float]] = {name: [] for name in SCORES}
            for seed in asked.seeds:
                run = run_of(start, asked.weights, boxes, seed, asked.steps, asked.held_out, asked.out)
                scores = scores_of(run)
                for name, own in values.items():
                    own.append(scores[name])
            found[f"{boxes}, {start}"] = values
            table.append(line([f"{boxes}, {start}", *map(spread, values.values())]))
            print(table[-1], flush=True)
    (asked.out / "table.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("\n".join(["", f"{asked.steps} steps, seeds {asked.seeds}, percent, mean ± standard deviation", "", *table]))


if __name__ == "__main__":
    main()
