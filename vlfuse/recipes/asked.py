"""What every recipe can be told, and the model that follows from it."""

from dataclasses import dataclass
from typing import Any, Literal

from vlfuse.checkpoints.config import config_to_dict
from vlfuse.engine.run import Evaluation
from vlfuse.recipes.sizes import Size, size_like, size_of


@dataclass(frozen=True)
class Asked:
    out: str = ""
    """Folder of the run; by default runs/RECIPE."""
    data: str = ""
    """FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES or scenes:N; at size nano by default generated scenes."""
    eval_data: str = ""
    """Held-out data; none is evaluated without it."""
    init: str = ""
    """The model to start from: a name, a folder or a hub id; without it a fresh one."""
    size: Literal["", "nano", "tiny", "base", "large"] = ""
    """Of a fresh model (by default nano); with --init, whose hyper-parameters to use (by default the nearest)."""
    steps: int = 0
    """Updates; by default what the recipe says."""

    @property
    def size_name(self) -> str:
        return self.size or (size_like(self.init) if self.init else "nano")

    def folder(self, recipe: str) -> str:
        return self.out or f"runs/{recipe}"

    def evaluations(self, task: str) -> tuple[Evaluation, ...]:
        return (Evaluation(task, self.eval_data),) if self.eval_data else ()

    def model(self, image_size: int = 0, max_text: int = 0) -> dict[str, Any]:
        """The fields of Run that say which model is trained, and on pictures and texts of which size (0:
        the model's own)."""
        if self.init:
            return {"init": self.init, "image_size": image_size, "max_text": max_text}
        return fresh(size_of(self.size_name), image_size, max_text)


def fresh(size: Size, image_size: int = 0, max_text: int = 0) -> dict[str, Any]:
    """The fields of Run for a model from random weights."""
    return {
        "system": size.system,
        "config": config_to_dict(size.config),
        "tokenizer": size.tokenizer,
        "image_size": image_size or size.image_size,
        "max_text": max_text or size.max_text,
        "mean": size.mean,
        "std": size.std,
    }
