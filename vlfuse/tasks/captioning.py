"""Captioning: writing a text about an image with the system's decoder (FIBER section 3.3), learnt in three ways.

* mle: each word of people's captions, given those before it.
* gold: the same, each word weighed by how likely a frozen copy of the model finds it and what follows (Pang
  and He 2021).
* cider: captions drawn from the model, rewarded by CIDEr-D (Rennie et al. 2017).

Shapes: B images, N texts, T tokens, E width, V vocabulary, K samples an image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.cache import Past
from vlfuse.metrics.caption import CiderD
from vlfuse.metrics.words import caption_words
from vlfuse.objectives.mlm import WordHead
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import States, System, texts_of
from vlfuse.tasks.search import Decoding, Specials, Written, write
from vlfuse.types import Answer, Batch, ConfigError, DataError, Rows, TaskError, Tokens

LEAST_WEIGHT = 0.1  # of a word under GOLD
MLE_SHARE, REWARD_SHARE = 0.3, 0.7  # of the two losses under CIDEr, as published
PUBLISHED_BASELINE = 1.0  # on CIDEr-D's scale of 10
END = "<eos>"  # closes both sides of a reward, so that stopping too soon or too late costs


@dataclass(frozen=True)
class Learning:
    """How the head learns; nothing of it is part of a released model.

    by: see the module. samples: K of cider; frequencies: its file of document frequencies (`CiderD.save`), by default
    those of the captions it learns from. refresh: forward passes between two copies of gold. published: FIBER's
    released arithmetic: gold divides by the number of padding tokens instead of words; cider draws with dropout on,
    takes the constant 1 as its baseline instead of the mean of an image's other samples, and counts raw words.
    """

    by: Literal["mle", "gold", "cider"] = "mle"
    samples: int = 5
    frequencies: str = ""
    refresh: int = 1000
    published: bool = False

    def __post_init__(self):
        if self.by not in ("mle", "gold", "cider"):
            raise ConfigError(f"learning.by is '{self.by}'; it must be mle, gold or cider")
        if self.samples < 2 or self.refresh < 1:
            raise ConfigError(f"learning.samples is {self.samples} and refresh {self.refresh}; at least 2, and 1")
        if self.frequencies and self.by != "cider":
            raise ConfigError(
                f"learning.frequencies is set but would be ignored: it belongs to cider, not to {self.by}"
            )


class Captioning(WordHead):
    """Write a caption. `spell` (ids -> text) and, for cider, `reward` are lent by whoever loads or trains the model."""

    def __init__(
        self,
        system: System,
        start: int = 0,
        end: int = 2,
        pad: int = 1,
        never: Sequence[int] = (),
        published_search: bool = False,
    ):
        """start, end, pad: ids of the tokens that frame a text (RoBERTa's by default); never: ids that no text holds.

        published_search: write with `search.published_beam_search`, as a published checkpoint did;
        its importer sets it.
        """
        super().__init__(system)
        self.writer = system.decoder()
        self.specials = Specials(start, end, pad, tuple(never))
        self.learning = Learning()
        self.decoding = Decoding(max_tokens=min(Decoding.max_tokens, system.max_tokens), published=published_search)
        self.spell: Callable[[Sequence[int]], str] | None = None
        self.reward: CiderD | None = None
        self.passes = 0  # of gold
        self._copies: list[tuple[System, Captioning]] = []  # in a list, for a copy is no part of this module

    def lend(self, spell: Callable[[Sequence[int]], str], max_text: int) -> None:
        """Give the head its tokenizer's decode, and let it write texts as long as the model was trained on (start
        included)."""
        self.spell = spell
        self.decoding = replace(self.decoding, max_tokens=max_text - 1)

    def settings(self) -> dict[str, Any]:
        s = self.specials
        frame = {"start": s.start, "end": s.end, "pad": s.pad, "never": list(s.never)}
        return frame | ({"published_search": True} if self.decoding.published else {})

    # --- learning ------------------------------------------------------------------------------------------------

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        captions = texts_of(batch, self.reads)
        if captions.owner.ndim > 1:
            raise TaskError("captions of pairs of pictures cannot be learnt; give samples of one picture")
        memory = self.writer.remember(system, states.image)
        found, real = self.log_probabilities(system, captions.tokens, memory[captions.owner])
        mle = global_mean(-found.sum(), real.sum())
        scores = {"perplexity": (-found.detach().sum() / real.sum()).exp()}
        if self.learning.by == "gold" and self.training:
            behaviour = self._behaviour(system, batch, captions.owner, captions.tokens)
            return {"loss": self.gold(found, real, behaviour), **scores}
        if self.learning.by == "cider" and self.training:
            reinforced, reward = self._reinforce(system, states, batch, memory)
            return {"loss": MLE_SHARE * mle + REWARD_SHARE * reinforced, "reward": reward, **scores}
        return {"loss": mle, **scores}

    def log_probabilities(self, system: System, tokens: Tokens, memory: Rows) -> tuple[Tensor, Tensor]:
        """log p of every token given those before it and the image, [N, T - 1], 0 at padding;
        and where there are tokens, bool."""
        hidden = self.writer(system, tokens.ids, memory, tokens.mask)[:, :-1]
        real, targets = tokens.mask[:, 1:], tokens.ids[:, 1:]
        # Only real tokens reach the vocabulary, the widest matrix of all.
        words = -F.cross_entropy(self.logits(hidden[real]).float(), targets[real], reduction="none")
        return words.new_zeros(real.shape).masked_scatter(real, words), real

    def gold(self, found: Tensor, real: Tensor, behaviour: Tensor) -> Tensor:
        """Mean over words of their weighted loss; found, behaviour: log-probabilities [N,
        T - 1] of the model and of its copy."""
        weighted = -found * gold_weights(behaviour.exp(), real)
        if not self.learning.published:
            return global_mean(weighted.sum(), real.sum())
        padding = 1 + (~real).sum(1)  # of the targets, whose last is always padding
        return global_mean((weighted.sum(1) / (padding + 1e-9)).sum(), len(real))

    @torch.no_grad()
    def _behaviour(self, system: System, batch: Batch, owner: Tensor, tokens: Tokens) -> Tensor:
        """Log-probabilities under the frozen copy, which is made anew every `refresh` passes and after a resume."""
        if not self._copies or self.passes % self.learning.refresh == 0:
            self._copies.clear()
            shared = {id(lent): lent for lent in (self.spell, self.reward)}  # not to be copied
            with _training(False, system, self):
                self._copies.append(copy.deepcopy((system, self), shared))
        self.passes += 1
        old_system, old_head = self._copies[0]
        memory = old_head.writer.remember(old_system, old_system.encode_image(batch.images))
        return old_head.log_probabilities(old_system, tokens, memory[owner])[0]

    def _reinforce(self, system: System, states: States, batch: Batch, memory: Rows) -> tuple[Tensor, Tensor]:
        """The loss of drawn captions and the mean reward."""
        groups = [sample.captions for sample in batch.samples]
        if len(groups) != len(memory) or not all(groups):
            raise DataError(
                "captions are rewarded by comparison with all of an image's captions; a sample here has none"
            )
        room = texts_of(batch, self.reads).tokens.ids.shape[1] + 4  # a little more than given captions take
        decoding = Decoding(samples=self.learning.samples, max_tokens=min(room, system.max_tokens - 1))
        with torch.no_grad(), _training(self.learning.published, system, self):
            drawn = self.write(system, memory, decoding, generator=states.generator).ids.flatten(0, 1)
        rewards = self.rewards(drawn, groups)
        loss, _ = self.policy_loss(system, memory, drawn, rewards)
        return loss, rewards.mean()

    def rewards(self, drawn: Tensor, references: Sequence[Sequence[str]]) -> Tensor:
        """CIDEr-D [B, K] of drawn ids [B K, T] against the captions of each image."""
        if self.reward is None:
            raise ConfigError("learning by cider needs document frequencies: set this head's `reward`")
        K = len(drawn) // len(references)
        words = [self.words(text) for text in self.texts(drawn)]
        scores = [
            self.reward.of_one(words[K * image : K * (image + 1)], [self.words(reference) for reference in group])
            for image, group in enumerate(references)
        ]
        return torch.tensor(scores, device=drawn.device)

    def words(self, text: str) -> list[str]:
        """A caption as its reward sees it."""
        words = text.strip().removesuffix(".").split() if self.learning.published else caption_words(text)
        return [*words, END]

    def policy_loss(self, system: System, memory: Rows, drawn: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of drawn ids [B K, T], likelier the better they were rewarded;
        and their mean log-probabilities [B K]."""
        B, K = rewards.shape
        tokens = self._framed(drawn)
        found, real = self.log_probabilities(system, tokens, memory)
        means = found.sum(1) / real.sum(1).clamp(min=1)
        if self.learning.published:
            return global_mean((means * 100 * (PUBLISHED_BASELINE - rewards.flatten())).sum(), B), means
        others = (rewards.sum(1, keepdim=True) - rewards) / (K - 1)
        return global_mean((means * (others - rewards).flatten()).sum(), B * K), means

    def _framed(self, drawn: Tensor) -> Tokens:
        """Start, the tokens [N, T] up to padding, and the end of all that were not cut off."""
        s = self.specials
        lengths = (drawn != s.pad).sum(1)
        ids = F.pad(drawn, (1, 0), value=s.start)
        closed = lengths < drawn.shape[1]
        ids[closed, lengths[closed] + 1] = s.end
        return Tokens(ids, torch.arange(ids.shape[1], device=ids.device) < (lengths + 1 + closed)[:, None])

    # --- use -----------------------------------------------------------------------------------------------------

    def write(
        self,
        system: System,
        memory: Rows,
        decoding: Decoding,
        prompt: Sequence[int] = (),
        generator: torch.Generator | None = None,
    ) -> Written:
        """Texts about B images. memory: `self.writer.remember(system, image states)`; prompt:
        ids that every text begins with."""
        words = torch.tensor([self.specials.start, *prompt], device=self.decoder.weight.device)
        writer = CachedWriter(self, system, memory, decoding.max_tokens + len(words))
        return write(writer, words.expand(len(memory), -1), decoding, self.specials, generator)

    def texts(self, ids: Tensor) -> list[str]:
        """Rows of ids [N, T] as text."""
        if self.spell is None:
            raise ConfigError("this captioning head cannot spell: set its `spell` to the tokenizer's decode")
        pad = self.specials.pad
        return [self.spell([i for i in row if i != pad]).strip() for row in ids.tolist()]

    def answers(self, written: Written, prompt: str = "") -> list[Answer]:
        """The best text of each image with the others behind it; scores are mean probabilities of a token in [0, 1]."""
        found = []
        for ids, scores in zip(written.ids, written.scores.exp().tolist(), strict=True):
            texts = [f"{prompt} {text}".strip() for text in self.texts(ids)]
            named = list(zip(texts, scores, strict=True))
            found.append(Answer(*named[0], alternatives=tuple(named[1:])))
        return found

    def decode(self, system: System, states: States, batch: Batch) -> list[Answer]:
        """One caption for each image of the batch, however many captions it came with."""
        memory = self.writer.remember(system, states.image)
        return self.answers(self.write(system, memory, self.decoding))


@contextmanager
def _training(on: bool, *modules: nn.Module) -> Iterator[None]:
    """Modules in training mode, or out of it, for a while."""
    before = [module.training for module in modules]
    for module in modules:
        module.train(on)
    try:
        yield
    finally:
        for module, mode in zip(modules, before, strict=True):
            module.train(mode)


@dataclass
class CachedWriter:
    """Hypotheses of a search over one memory; every token is computed once. See `search.Writer`."""

    head: Captioning
    system: System
    memory: Rows
    longest: int
    past: Past = field(init=False)

    def __post_init__(self):
        if self.longest > self.system.max_tokens + 1:  # the last token written is never read
            raise TaskError(
                f"a caption of {self.longest} tokens, prompt and frame included, is longer than the {self.system.max_tokens} "
                "that this model knows; lower max_tokens"
            )
        self.past = self.head.writer.past(self.system)

    def next(self, ids: Tensor) -> Tensor:
        hidden = self.head.writer(self.system, ids, self.memory, past=self.past)
        return self.head.logits(hidden[:, -1])

    def select(self, rows: Tensor) -> None:
        self.past.select(rows)


def gold_weights(probability: Tensor, real: Tensor) -> Tensor:
    """max(Q p, 0.1) for each word: p its probability [N, T] under the copy,
    Q the mean of p over it and all words after it.

    Source: GOLD (Pang and He 2021), equations 6 and 7, as FIBER uses it.
    """
    probability = probability.masked_fill(~real, 0.0)
    after = probability.flip(1).cumsum(1).flip(1)
    left = real.flip(1).cumsum(1).flip(1).clamp(min=1)
    return (after / left * probability).clamp(min=LEAST_WEIGHT).detach()
