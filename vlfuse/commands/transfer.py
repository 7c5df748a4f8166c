"""`vlfuse transfer`."""

from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from vlfuse.engine.distributed import stop
from vlfuse.recipes.transfer import targets, transfer


def run(
    model: str,
    data: tuple[str, ...],
    eval_data: tuple[str, ...],
    names: tuple[str, ...] = (),
    shots: tuple[int, ...] = (1, 3, 5, 10, 0),
    steps: int = 0,
    image_size: int = 0,
    seed: int = 0,
    out: Path = Path("runs/transfer"),
) -> None:
    """Detection on sets of pictures of your own: as the model is, after a few pictures of each class,
    and after all of them.

    Prints AP and AP50 for each, with averages over several sets, and writes them to OUT/metrics.json;
    every model stays in its folder.

    Args:
        model: A name, a folder or a hub id; of the coarse or of the fine stage.
        data: Sets to learn from: COCO FILE.json@IMAGES or FILE.jsonl.
        eval_data: For each of them, where it is tested.
        names: Of the sets; by default those of their folders.
        shots: Pictures of each class; 0 for all.
        steps: Updates; by default what the recipe `detection` says.
        image_size: Of the short side, in pixels; by default the model's own.
        seed: Of the runs, and of the choice of pictures.
        out: Folder for the runs. What is finished there is not repeated.
    """
    try:
        results = transfer(model, targets(data, eval_data, names), out, shots, steps, image_size, seed)
    finally:
        stop()
    ways = list(next(iter(results.values())))
    table = Table("set", *ways, title="AP (AP50), percent")
    for name, found in results.items():
        table.add_row(name, *[f"{100 * found[way]['AP']:.1f} ({100 * found[way]['AP50']:.1f})" for way in ways])
    Console().print(table)
    print(f"wrote {out / 'metrics.json'}")


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse transfer", args=arguments)
