"""`vlfuse models`."""

from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from vlfuse.checkpoints.folder import CONFIG
from vlfuse.checkpoints.hub import model_config, resolve_model, shipped_models
from vlfuse.checkpoints.importing import FORMATS

USES = {
    "vqa": "ask",
    "nlvr2": "reason",
    "nlvr": "reason",
    "entailment": "entails",
    "itc": "match, embed",
    "itm": "match",
    "caption": "caption",
    "grounding": "detect, ground, refer",
}


def run(models: Positional[tuple[str, ...]] = ()) -> None:
    """List the models of the package and those under runs/, and what each can do.

    Args:
        models: Names, folders or hub ids to show instead.
    """
    if models:
        folders = {name: resolve_model(name) for name in models}
    else:
        made = sorted(path.parent for path in Path("runs").glob(f"**/model/{CONFIG}"))
        folders = shipped_models() | {folder.as_posix(): folder for folder in made}
    table = Table("model", "system", "heads", "used by", "pictures", "texts")
    for name, folder in folders.items():
        config = model_config(folder)
        uses = dict.fromkeys(use for head in config.heads if head in USES for use in USES[head].split(", "))
        given = config.preprocessing
        table.add_row(
            name, config.system, ", ".join(config.heads) or "none", ", ".join(uses), f"{given.size} px", f"{given.max_text} tokens"
        )  # fmt: skip
    if folders:
        Console().print(table)
    else:
        print("no model came with this package, and none is under runs/: `vlfuse demo` makes one")
    for name, format in FORMATS.items():
        print(f"`vlfuse import FILE --format {name}` makes a model of {format.about}")


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse models", args=arguments)
