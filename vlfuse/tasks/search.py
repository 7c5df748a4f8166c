"""Writing a text token by token: beam search, greedy search (a beam of one) and sampling, for a whole batch at once.

All of them ask a `Writer` for the next token's logits and tell it which hypotheses go on; none knows a model.

Shapes: B images, K hypotheses an image, N = B K rows, image by image, V vocabulary, T tokens written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vlfuse.types import ConfigError

NEVER = float("-inf")


class Writer(Protocol):
    """The text so far, and what has been computed of it."""

    def next(self, ids: Tensor) -> Tensor:
        """Append tokens ids [N, t] to the rows; logits [N, V] of the token after them."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with rows [M] int64 of the present ones, which may repeat; M is a multiple of the number of images."""
        ...


@dataclass(frozen=True)
class Specials:
    """Ids of the tokens that frame a text. `never`: ids that no text holds."""

    start: int
    end: int
    pad: int
    never: tuple[int, ...] = ()


@dataclass(frozen=True)
class Written:
    """ids [B, K, T], best first, without start and end, filled with pad; scores [B, K]: log-probability, the end
    token's included where it was reached, over the number of tokens to the power of `length_penalty`."""

    ids: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Decoding:
    """How to write. beam: hypotheses kept (1: greedy). max_tokens: at most so many, the end included, the prompt not.

    length_penalty: a hypothesis of n tokens scores its log-probability / n ** length_penalty.
    samples: above 0, draw so many texts for each image instead of searching, at `temperature`, from the `top` likeliest
    tokens (0: from all). published: the beam search of FIBER's released code, with its quirks,
    for comparison with its captions.
    """

    beam: int = 5
    max_tokens: int = 40
    length_penalty: float = 1.0
    samples: int = 0
    temperature: float = 1.0
    top: int = 0
    published: bool = False

    def __post_init__(self):
        for name, least in (("beam", 1), ("max_tokens", 1), ("samples", 0), ("top", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"decoding.{name} is {getattr(self, name)}; it must be {least} or more")
        if self.temperature <= 0:
            raise ConfigError(
                f"decoding.temperature is {self.temperature}; it must be above 0 (greedy: beam 1, no samples)"
            )
        if self.samples and (self.published or self.beam != Decoding.beam):
            raise ConfigError("decoding.samples draws texts; beam and published belong to search: leave them out")
        if not self.samples and (self.temperature != 1.0 or self.top):
            raise ConfigError("decoding.temperature and decoding.top belong to drawing; set decoding.samples")


def write(writer: Writer, prompt: Tensor, decoding: Decoding, specials: Specials, generator: torch.Generator | None = None) -> Written:  # fmt: skip
    """Texts for B images. prompt [B, t]: the start token, and words to go on from."""
    if decoding.samples:
        return sample(writer, prompt, decoding, specials, generator)
    if decoding.published:
        return published_beam_search(writer, prompt, decoding, specials)
    return beam_search(writer, prompt, decoding, specials)


def _log_probabilities(logits: Tensor, banned: tuple[int, ...]) -> Tensor:
    logits = logits.float()
    if banned:
        logits[:, list(banned)] = NEVER
    return logits.log_softmax(-1)


# --- beam search -------------------------------------------------------------------------------------------------


def beam_search(writer: Writer, prompt: Tensor, decoding: Decoding, specials: Specials) -> Written:
    """The best finished hypotheses found; of what is cut off at `max_tokens`, the best join them.

    An image is done when even its best live hypothesis could not beat its worst kept one.
    """
    B, K, device = len(prompt), decoding.beam, prompt.device
    banned = (*specials.never, specials.start, specials.pad)
    first = _log_probabilities(writer.next(prompt), banned)
    V = first.shape[1]
    writer.select(torch.arange(B, device=device).repeat_interleave(K))
    log_probabilities = first.repeat_interleave(K, dim=0)
    # Until they differ, all hypotheses of an image are one: the others wait at minus infinity.
    live = torch.full((B, K), NEVER, device=device)
    live[:, 0] = 0
    ids = torch.full((B, K, decoding.max_tokens), specials.pad, device=device)
    best = Written(ids.clone(), torch.full((B, K), NEVER, device=device))
    for step in range(1, decoding.max_tokens + 1):
        # Twice as many candidates as beams, for half of them may be ends.
        candidates = (live[:, :, None] + log_probabilities.view(B, K, V)).flatten(1)
        scores, places = candidates.topk(min(2 * K, K * V), dim=1)
        parents, tokens = places // V, places % V
        ended = tokens == specials.end
        grown = ids.gather(1, parents[:, :, None].expand(-1, -1, ids.shape[2]))
        best = _keep(best, grown, (scores / step**decoding.length_penalty).masked_fill(~ended, NEVER))
        grown[:, :, step - 1] = tokens
        live, order = scores.masked_fill(ended, NEVER).topk(K, dim=1)
        ids = grown.gather(1, order[:, :, None].expand(-1, -1, ids.shape[2]))
        if step == decoding.max_tokens:
            break
        # A log-probability only falls; the longest text is divided by most.
        reach = live[:, 0] / max(step**decoding.length_penalty, decoding.max_tokens**decoding.length_penalty)
        if bool((best.scores[:, -1] >= reach).all()):
            return best
        rows = parents.gather(1, order) + torch.arange(B, device=device)[:, None] * K
        writer.select(rows.flatten())
        log_probabilities = _log_probabilities(writer.next(ids[:, :, step - 1].reshape(-1, 1)), banned)
    return _keep(best, ids, live / decoding.max_tokens**decoding.length_penalty)


def _keep(best: Written, ids: Tensor, scores: Tensor) -> Written:
    """The best K of those kept and new ones."""
    scores, order = torch.cat([best.scores, scores], dim=1).topk(best.scores.shape[1], dim=1)
    every = torch.cat([best.ids, ids], dim=1)
    return Written(every.gather(1, order[:, :, None].expand(-1, -1, every.shape[2])), scores)


# --- sampling ----------------------------------------------------------------------------------------------------


def sample(
    writer: Writer, prompt: Tensor, decoding: Decoding, specials: Specials, generator: torch.Generator | None = None
) -> Written:
    """`decoding.samples` independent texts an image, in order of their scores. What ends is not written on."""
    B, K, device = len(prompt), decoding.samples, prompt.device
    banned = (*specials.never, specials.start, specials.pad)
    logits = writer.next(prompt)
    writer.select(torch.arange(B, device=device).repeat_interleave(K))
    log_probabilities = _log_probabilities(logits, banned).repeat_interleave(K, dim=0)
    ids = torch.full((B * K, decoding.max_tokens), specials.pad, device=device)
    total, ended = torch.zeros(B * K, device=device), torch.zeros(B * K, dtype=torch.bool, device=device)
    length = torch.zeros(B * K, device=device)
    for step in range(decoding.max_tokens):
        drawn = _draw(log_probabilities, decoding, generator)
        total += log_probabilities.gather(1, drawn[:, None]).squeeze(1).masked_fill(ended, 0.0)
        length += (~ended).float()
        ended = ended | (drawn == specials.end)
        ids[:, step] = drawn.masked_fill(ended, specials.pad)
        if bool(ended.all()) or step + 1 == decoding.max_tokens:
            break
        log_probabilities = _log_probabilities(writer.next(drawn[:, None]), banned)
    scores, order = (total / length**decoding.length_penalty).view(B, K).sort(dim=1, descending=True)
    ids = ids.view(B, K, -1)
    return Written(ids.gather(1, order[:, :, None].expand_as(ids)), scores)


def _draw(log_probabilities: Tensor, decoding: Decoding, generator: torch.Generator | None) -> Tensor:
    """One token for each row, [N]."""
    weights = log_probabilities / decoding.temperature
    if decoding.top:
        least = weights.topk(min(decoding.top, weights.shape[1]), dim=1).values[:, -1:]
        weights = weights.masked_fill(weights < least, NEVER)
    chances = weights.softmax(-1)
    if generator is None or generator.device == chances.device:
        return torch.multinomial(chances, 1, generator=generator).squeeze(1)
    # The generator of a step lives on the CPU, alike on every process;
    # the race of exponentials draws as multinomial does.
    noise = torch.empty(chances.shape).exponential_(generator=generator).to(chances.device)
    return (chances / noise).argmax(-1)


# --- as published ------------------------------------------------------------------------------------------------


def published_beam_search(writer: Writer, prompt: Tensor, decoding: Decoding, specials: Specials) -> Written:
    """The search of FIBER's released code, for comparison with its captions; K hypotheses, best first.

    What is particular: start and pad may be written, and pad ends a text as the end token does. An ended hypothesis
    stays in the beam with V equal continuations, so that it soon fills the beam. Hypotheses compete by log-probability
    / length, where the length belongs to the place in the beam and not to the hypothesis:
    it does not move when they change places.
    """
    B, K, device = len(prompt), decoding.beam, prompt.device
    log_probabilities = _log_probabilities(writer.next(prompt), specials.never)
    V = log_probabilities.shape[1]
    total, tokens = log_probabilities.topk(K, dim=1)
    writer.select(torch.arange(B, device=device).repeat_interleave(K))
    ids = torch.full((B, K, decoding.max_tokens), specials.pad, device=device)
    ids[:, :, 0] = tokens
    ended = (tokens == specials.end) | (tokens == specials.pad)
    lengths = torch.ones(B, K, device=device)
    for step in range(1, decoding.max_tokens):
        if bool(ended.all()):
            break
        log_probabilities = _log_probabilities(writer.next(ids[:, :, step - 1].reshape(-1, 1)), specials.never)
        gained = log_probabilities.view(B, K, V).masked_fill(ended[:, :, None], 0.0)
        lengths = lengths + (~ended).float()
        sums = (total[:, :, None] + gained).flatten(1)
        ranked = sums / (lengths + 1e-9).repeat_interleave(V, dim=1)
        places = ranked.topk(K, dim=1).indices
        parents, tokens = places // V, places % V
        total = sums.gather(1, places)
        ids = ids.gather(1, parents[:, :, None].expand_as(ids)).clone()
        parent_ended = ended.gather(1, parents)
        ids[:, :, step] = tokens.masked_fill(parent_ended, specials.pad)
        ended = parent_ended | (tokens == specials.end) | (tokens == specials.pad)
        writer.select((parents + torch.arange(B, device=device)[:, None] * K).flatten())
    framed = (ids == specials.end) | (ids == specials.start)
    return Written(ids.masked_fill(framed, specials.pad), total / lengths)
