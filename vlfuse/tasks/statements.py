"""Judging a statement about one picture or two: NLVR2 (Suhr et al. 2019), NLVR (2017), visual entailment (Xie et al.
2019).

Shapes: N statements, P pooled width, L labels.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.mlp import init_normal
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.tasks.vqa import best
from vlfuse.types import Answer, Batch, DataError, TaskError


class StatementHead(Head):
    """Each picture is fused with the statement on its own; the pooled vectors, side by side, are classified.

    scale: hidden width of the classifier, in pooled widths. dropout: of what it reads (BridgeTower for NLVR2:
    1.5 and 0.1).
    """

    reads, needs = "statements", ("labels",)
    labels: ClassVar[tuple[str, ...]]
    pictures: ClassVar[int]

    def __init__(self, system: System, scale: float = 1.0, dropout: float = 0.0):
        super().__init__()
        self.scale, self.dropout = scale, dropout
        hidden = int(system.pooled_width * scale)
        self.classifier = nn.Sequential(
            nn.Linear(self.pictures * system.pooled_width, hidden),
            nn.LayerNorm(hidden, eps=1e-5),
            nn.GELU(),
            nn.Linear(hidden, len(self.labels)),
        )
        self.apply(init_normal)

    def settings(self) -> dict[str, float]:
        return {"scale": self.scale, "dropout": self.dropout}

    def logits(self, system: System, states: States, batch: Batch) -> Tensor:
        """[N, L]."""
        owner = texts_of(batch, self.reads).owner
        owner = owner[:, None] if owner.ndim == 1 else owner
        if owner.shape[1] != self.pictures:
            raise TaskError(
                f"{type(self).__name__} reads {self.pictures} picture(s) a statement, these samples have {owner.shape[1]}"
            )
        text = states.text(self.reads)
        pictures = [system.as_picture(states.image[owner[:, i]], i) for i in range(self.pictures)]
        pooled = torch.cat([system.pooled(picture, text) for picture in pictures], dim=1)
        return self.classifier(F.dropout(pooled, self.dropout, self.training)).float()

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        """Mean over the statements whose label is known; target [N] int64, -100 where it is not."""
        target = texts_of(batch, self.reads).target
        if target is None:
            raise DataError("the statements of this batch carry no labels; training needs them")
        logits = self.logits(system, states, batch)
        known = target >= 0
        loss = global_mean(F.cross_entropy(logits, target, reduction="sum", ignore_index=-100), known.sum())
        return {"loss": loss, "accuracy": (logits.argmax(1) == target).sum() / known.sum().clamp(min=1)}

    def decode(self, system: System, states: States, batch: Batch) -> list[Answer]:
        return best(self.logits(system, states, batch).softmax(1), self.labels)


class Nlvr2(StatementHead):
    """Is the statement true of this pair of pictures?"""

    labels = ("false", "true")
    pictures = 2


class Nlvr(StatementHead):
    """Is the statement true of this picture?"""

    labels = ("false", "true")
    pictures = 1


class Entailment(StatementHead):
    """Does the picture entail the statement, contradict it, or leave it open?"""

    labels = ("entailment", "neutral", "contradiction")
    pictures = 1
