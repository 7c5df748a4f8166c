"""The smallest model and data with the faces the engine knows, for tests of the engine alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlfuse.engine.run import Optim, Run, Source
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, Model, Role, States, System, texts_of
from vlfuse.types import Batch, Fused, Images, ImageState, Texts, TextState, Tokens

WIDTH, SIZE, WORDS = 8, 2, 12


class StubSystem(System):
    pooled_width = text_width = embed_width = WIDTH
    vocab_size, max_tokens = WORDS, 5

    def __init__(self, dropout: float = 0.1):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.image = nn.Linear(3 * SIZE * SIZE, WIDTH)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.join = nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def encode_image(self, images: Images) -> ImageState:
        return ImageState(self.image(images.pixels.flatten(1))[:, None], (1, 1))

    def encode_text(self, text: Tokens) -> TextState:
        return TextState(self.words(text.ids), text.mask)

    def fuse(self, image: ImageState, text: TextState) -> Fused:
        both = torch.cat([image.tokens[:, 0], (text.tokens * text.mask[..., None]).sum(1)], 1)
        return Fused(image.tokens, text.tokens, self.dropout(torch.tanh(self.join(both))))

    def project_image(self, state: ImageState) -> Tensor:
        return nn.functional.normalize(state.tokens[:, 0], dim=-1)

    def project_text(self, state: TextState) -> Tensor:
        return nn.functional.normalize(state.tokens.sum(1), dim=-1)

    def role(self, parameter: str) -> Role:
        return "cross" if parameter.startswith("join") else "base"


class Guess(Head):
    """Tells the class of each question; `labels` below 0 are not asked, so the number asked differs between processes."""

    reads = "questions"

    def __init__(self, system: System):
        super().__init__()
        self.classifier = nn.Linear(WIDTH, 4)

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        questions = texts_of(batch, self.reads)
        logits = self.classifier(system.fuse(states.image[questions.owner], states.text(self.reads)).pooled)
        assert questions.target is not None
        asked = questions.target >= 0
        loss = nn.functional.cross_entropy(logits[asked].float(), questions.target[asked], reduction="sum")
        hits = (logits.argmax(1) == questions.target)[asked].float().mean()
        return {"loss": global_mean(loss, asked.sum()), "accuracy": hits}


class Spare(Guess):
    """A head that the sources of a test may leave unused."""

    reads = "statements"


def stub_model(seed: int = 0, dropout: float = 0.1) -> Model:
    torch.manual_seed(seed)
    system = StubSystem(dropout)
    return Model(system, {"guess": Guess(system), "spare": Spare(system)})


def stub_batch(rng: np.random.Generator, samples: int) -> Batch:
    pixels = torch.from_numpy(rng.standard_normal((samples, 3, SIZE, SIZE)).astype(np.float32))
    ids = torch.from_numpy(rng.integers(0, WORDS, (samples, 5)))
    target = torch.from_numpy(rng.integers(-1, 4, samples))
    texts = Texts(Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), torch.arange(samples), target=target)
    return Batch(Images(pixels, torch.full((samples, 2), SIZE)), questions=texts, statements=texts)


class StubLoader:
    """`length` batches an epoch, each a pure function of (epoch, step); this process's part of it."""

    def __init__(self, samples: int = 8, length: int = 7, rank: int = 0, world_size: int = 1, spoil: int = -1):
        self.samples, self.length, self.spoil = samples, length, spoil
        self.rows = slice(samples * rank // world_size, samples * (rank + 1) // world_size)

    def __len__(self) -> int:
        return self.length

    def iterate(self, epoch: int = 0, start_step: int = 0) -> Iterator[Batch]:
        for step in range(start_step, self.length):
            batch = stub_batch(np.random.default_rng([5, epoch, step]), self.samples)
            if epoch * self.length + step == self.spoil:
                batch.images.pixels[:] = torch.nan
            yield rows(batch, self.rows)


def rows(batch: Batch, of: slice) -> Batch:
    """The part of a batch with one text of each kind a picture that belongs to some of its pictures."""

    def part(texts: Texts | None) -> Texts | None:
        if texts is None or texts.target is None:
            return None
        tokens = Tokens(texts.tokens.ids[of], texts.tokens.mask[of])
        return Texts(tokens, torch.arange(len(tokens.ids)), target=texts.target[of])

    return Batch(batch.images[of], questions=part(batch.questions), statements=part(batch.statements))


def stub_run(out: Path | str, **changes: Any) -> Run:
    source = Source(data="scenes:56", heads={"guess": 1.0}, batch_size=8, questions=1)
    settings: dict[str, Any] = {
        "recipe": "stub",
        "out": str(out),
        "steps": 20,
        "sources": (source,),
        "optim": Optim(lr=1e-2),
        "system": "stub",
        "save_every": 5,
        "log_every": 1,
        "device": "cpu",
    }
    return Run(**{**settings, **changes})
