"""How well a model finds things in sets of pictures that it does not know: as it is,
after a few pictures of each class, after all."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from vlfuse.checkpoints.config import config_from_dict, config_to_dict
from vlfuse.checkpoints.hub import load_model, model_config
from vlfuse.data.files import write_json
from vlfuse.engine.run import Run
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import score, scores_of
from vlfuse.recipes.fine import detection
from vlfuse.types import ConfigError

AP = ("AP", "AP50")
ZERO, FULL, AVERAGE = "zero-shot", "full", "average"


@dataclass(frozen=True)
class Target:
    """A set of pictures with boxes: where it is learnt from, and where it is tested."""

    name: str
    data: str
    eval_data: str


def targets(data: Sequence[str], eval_data: Sequence[str], names: Sequence[str] = ()) -> list[Target]:
    """names: by default that of the folder of each, made different where they are not."""
    if not data or len(data) != len(eval_data) or len(names) not in (0, len(data)):
        raise ConfigError(
            f"{len(data)} sets to learn from, {len(eval_data)} to test on and {len(names)} names; give one of each for every set"
        )
    found: dict[str, Target] = {}
    for number, (learn, test) in enumerate(zip(data, eval_data, strict=True)):
        name = names[number] if names else _name(learn)
        name = name if name not in found else f"{name}-{number}"
        found[name] = Target(name, learn, test)
    return list(found.values())


def _name(data: str) -> str:
    """photos/aquarium/annotations/train.json@photos/aquarium/images -> aquarium"""
    path = Path(data.partition("@")[0].partition(",")[0])
    folders = [part for part in path.parent.parts if part not in ("annotations", "data", "images", ".", "/")]
    return (folders[-1] if folders else path.stem).replace(":", "-")


def transfer(
    model: str,
    sets: Sequence[Target],
    out: Path,
    shots: Sequence[int],
    steps: int = 0,
    image_size: int = 0,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, float]]]:
    """{set, or "average": {"zero-shot", "1-shot" ..., "full": {"AP", "AP50"}}}, also written to `out/metrics.json`.

    shots: pictures of each class, 0 for all. Runs that are finished in `out` are not repeated, and what was interrupted
    goes on. image_size: of the short side, in learning; 0: the model's own.
    A model that cannot look for regions yet has no zero-shot score.
    """
    results: dict[str, dict[str, dict[str, float]]] = {target.name: {} for target in sets}
    for target in sets:
        if "grounding" in model_config(model).heads:
            found = score(load_model(model), "detection", target.eval_data)
            results[target.name][ZERO] = {name: found[name] for name in AP}
        for number in shots:
            run = _run(model, target, out, number, steps, image_size, seed)
            found = scores_of(run, shlex.join(["vlfuse", "transfer", "--model", model, "--data", target.data]))
            results[target.name][f"{number}-shot" if number else FULL] = {
                name: found[f"detection/{name}"] for name in AP
            }
    if len(sets) > 1:
        first = results[sets[0].name]
        results[AVERAGE] = {
            how: {name: mean(results[target.name][how][name] for target in sets) for name in AP} for how in first
        }
    write_json(out / "metrics.json", results)
    return results


def _run(model: str, target: Target, out: Path, shots: int, steps: int, image_size: int, seed: int) -> Run:
    folder = out / target.name / (f"{shots}-shot" if shots else FULL)
    asked = Asked(str(folder), target.data, target.eval_data, model, steps=steps)
    run = replace(detection(asked, shots), seed=seed)
    run = replace(run, image_size=image_size) if image_size else run
    return config_from_dict(Run, config_to_dict(run))  # as it will be read from run.json
