"""What can be told from the words alone: a reader of questions or statements that never sees a picture.

It is trained on generated texts and scored on others, so its accuracy is a floor that any model with eyes must clear.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.data.scenes.dataset import SceneDataset

BUCKETS = 2**14  # features are hashed; collisions are rare among a few thousand


@dataclass(frozen=True)
class Balance:
    """Accuracies in [0, 1] on `number` held-out texts: of the reader, of the commonest label,
    and of the reader by kind."""

    accuracy: float
    majority: float
    by_kind: dict[str, float]
    number: int


def texts_of(dataset: SceneDataset) -> list[tuple[str, str, str]]:
    """All (kind, text, label) a dataset of questions or of statements holds."""
    found = []
    for i in range(len(dataset)):
        sample = dataset[i]
        found += [(q.id.rsplit(".", 1)[-1], q.question, q.answers[0]) for q in sample.questions]
        found += [("statement", s.text, s.label) for s in sample.statements]
    return found


def words_alone(
    train: list[tuple[str, str, str]], test: list[tuple[str, str, str]], epochs: int = 8, seed: int = 0
) -> Balance:
    """Train a classifier of words, word pairs and word triples with one hidden layer on `train`; score it on `test`."""
    labels = {label: k for k, label in enumerate(sorted({label for _, _, label in train}))}
    encoded = [(_features(text), labels[label]) for _, text, label in train]
    generator = torch.Generator().manual_seed(seed)
    reader = Reader(len(labels), generator)
    steps = epochs * (len(encoded) // 256 + 1)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(encoded), generator=generator).split(256):
            loss = F.cross_entropy(reader([encoded[r][0] for r in rows]), torch.tensor([encoded[r][1] for r in rows]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        guesses = reader([_features(text) for _, text, _ in test]).argmax(dim=1).tolist()
    right = [labels.get(label) == guess for (_, _, label), guess in zip(test, guesses, strict=True)]
    kinds = Counter(kind for kind, _, _ in test)
    by_kind = {
        kind: sum(r for r, t in zip(right, test, strict=True) if t[0] == kind) / n for kind, n in sorted(kinds.items())
    }
    commonest = Counter(label for _, _, label in train).most_common(1)[0][0]
    majority = sum(label == commonest for _, _, label in test) / len(test)
    return Balance(sum(right) / len(right), majority, by_kind, len(test))


class Reader(nn.Module):
    """Mean of hashed feature embeddings, one hidden layer, and a linear path beside it."""

    def __init__(self, classes: int, generator: torch.Generator, width: int = 64):
        super().__init__()
        self.linear = nn.EmbeddingBag(BUCKETS, classes, mode="sum")
        self.embed = nn.EmbeddingBag(BUCKETS, width, mode="mean")
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, classes)
        nn.init.zeros_(self.linear.weight)
        for weight, scale in (
            (self.embed.weight, 0.1),
            (self.hidden.weight, width**-0.5),
            (self.out.weight, width**-0.5),
        ):
            nn.init.normal_(weight, std=scale, generator=generator)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: list[list[int]]) -> Tensor:
        flat = torch.tensor([f for row in features for f in row])
        starts = torch.tensor([0, *(len(row) for row in features[:-1])]).cumsum(0)
        return self.linear(flat, starts) + self.out(F.relu(self.hidden(self.embed(flat, starts))))


def _features(text: str) -> list[int]:
    words = re.findall(r"\w+", text.lower())
    grams = [" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)]
    return [zlib.crc32(gram.encode()) % BUCKETS for gram in [*grams, "^" + " ".join(words[:2])]]


KINDS: dict[str, dict] = {
    "questions": {"fields": ("questions",)},
    "statements": {"fields": ("statements",)},
    "pairs": {"paired": True},
    "entailment": {"fields": ("statements",), "entailment": True},
    "trays": {"fields": ("statements",), "trays": True},
}


def measure(kind: str, train: int = 4000, test: int = 1500, seed: int = 0) -> Balance:
    """The balance of one of KINDS, from `train` scenes of the split "train" and `test` of "val"."""
    options = {**KINDS[kind], "seed": seed, "size": 64}
    return words_alone(
        texts_of(SceneDataset(train, split="train", **options)), texts_of(SceneDataset(test, split="val", **options))
    )
