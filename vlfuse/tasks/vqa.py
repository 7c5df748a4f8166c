"""Visual question answering as classification over a closed list of answers (VQAv2, Goyal et al. 2017).

Shapes: N questions, A answers, P pooled width.
"""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.mlp import init_normal
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Answer, Batch, ConfigError, DataError


class Vqa(Head):
    """scale: hidden width of the classifier, in pooled widths (BridgeTower: 2)."""

    reads, needs = "questions", ("answers",)

    def __init__(self, system: System, answers: tuple[str, ...], single: bool = False, scale: float = 1.0):
        """single: of the answers one is right and softmax says which, where data have one answer to a question. Else
        each answer is right or wrong by itself, as published."""
        super().__init__()
        self.single = single
        if not answers:
            raise ConfigError("vqa needs a list of answers; build one from the training data")
        self.answers, self.scale = tuple(answers), scale
        hidden = int(system.pooled_width * scale)
        self.classifier = nn.Sequential(
            nn.Linear(system.pooled_width, hidden),
            nn.LayerNorm(hidden, eps=1e-5),
            nn.GELU(),
            nn.Linear(hidden, len(self.answers)),
        )
        self.apply(init_normal)
        # Every answer starts at probability 1 / A; from 1 / 2 a small model spends its first thousand steps getting
        # there.
        nn.init.constant_(self.classifier[-1].bias, -math.log(len(self.answers)))  # type: ignore[arg-type]

    def settings(self) -> dict[str, Any]:
        default = {"single": False, "scale": 1.0}
        given = {"single": self.single, "scale": self.scale}
        return {"answers": self.answers} | {name: value for name, value in given.items() if value != default[name]}

    def logits(self, system: System, states: States, batch: Batch) -> Tensor:
        """[N, A]."""
        questions = texts_of(batch, self.reads)
        return self.classifier(system.pooled(states.image[questions.owner], states.text(self.reads))).float()

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy against the annotators' soft scores, summed over answers, or cross-entropy (`single`);
        mean over questions."""
        target = texts_of(batch, self.reads).target
        if target is None:
            raise DataError("the questions of this batch carry no answers; training needs them")
        logits = self.logits(system, states, batch)
        target = target.to(logits.dtype)
        if self.single:
            loss = -(logits.log_softmax(1) * target).sum()
        else:
            loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        score = target.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {"loss": global_mean(loss, len(logits)), "score": score}

    def decode(self, system: System, states: States, batch: Batch) -> list[Answer]:
        logits = self.logits(system, states, batch)
        return best(logits.softmax(1) if self.single else logits.sigmoid(), self.answers)


def best(scores: Tensor, labels: tuple[str, ...], alternatives: int = 4) -> list[Answer]:
    """The best label of each row of probabilities [N, A], with the runners-up."""
    top = scores.topk(min(alternatives + 1, len(labels)), dim=1)
    answers = []
    for row_scores, row_labels in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        named = [(labels[label], score) for label, score in zip(row_labels, row_scores, strict=True)]
        answers.append(Answer(*named[0], alternatives=tuple(named[1:])))
    return answers
