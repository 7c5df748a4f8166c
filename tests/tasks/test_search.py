"""Searches against brute force, on writers whose probabilities are a table."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from vlfuse.tasks.search import Decoding, Specials, write
from vlfuse.types import ConfigError

START, END, PAD = 0, 1, 2
WORDS = 4  # beside the three
SPECIALS = Specials(START, END, PAD)


class Table:
    """Logits that depend on the image and on every token so far, as no cache can get wrong unnoticed."""

    def __init__(self, images: int, seed: int = 0):
        self.seed, self.images = seed, images
        self.rows = [(i, ()) for i in range(images)]

    def next(self, ids: Tensor) -> Tensor:
        self.rows = [(i, (*had, *new)) for (i, had), new in zip(self.rows, ids.tolist(), strict=True)]
        return torch.stack([self.logits(i, had) for i, had in self.rows])

    def select(self, rows: Tensor) -> None:
        self.rows = [self.rows[int(row)] for row in rows]

    def logits(self, image: int, had: tuple[int, ...]) -> Tensor:
        seed = hash((self.seed, image, had)) % 2**31
        return 2 * torch.randn(3 + WORDS, generator=torch.Generator().manual_seed(seed))


def probability(table: Table, image: int, text: tuple[int, ...]) -> float:
    """Log-probability of a text, its end token included, where start and pad cannot be written."""
    total, had = 0.0, (START,)
    for token in text:
        logits = table.logits(image, had)
        logits[[START, PAD]] = -torch.inf
        total += float(logits.log_softmax(-1)[token])
        had = (*had, token)
    return total


def every_text(length: int) -> list[tuple[int, ...]]:
    words = range(3, 3 + WORDS)
    ended = [(*text, END) for n in range(length) for text in itertools.product(words, repeat=n)]
    return ended + list(itertools.product(words, repeat=length))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_beam_wide_enough_finds_the_best_text(penalty):
    images, length = 3, 3
    found = write(
        Table(images), torch.zeros(images, 1, dtype=torch.long), Decoding(WORDS**length, length, penalty), SPECIALS
    )
    for image in range(images):
        table = Table(images)
        ranked = sorted(
            ((probability(table, image, text) / len(text) ** penalty, text) for text in every_text(length)),
            reverse=True,
        )
        for place in range(5):
            score, text = ranked[place]
            written = [token for token in text if token != END]
            assert found.ids[image, place].tolist() == written + [PAD] * (length - len(written))
            assert found.scores[image, place].item() == pytest.approx(score, abs=1e-5)


def test_a_beam_of_one_takes_the_likeliest_word():
    found = write(Table(2), torch.zeros(2, 1, dtype=torch.long), Decoding(1, 6), SPECIALS)
    for image in range(2):
        table, had = Table(2), (START,)
        while len(had) <= 6 and had[-1] != END:
            logits = table.logits(image, had)
            logits[[START, PAD]] = -torch.inf
            had = (*had, int(logits.argmax()))
        written = [token for token in had[1:] if token != END]
        assert [t for t in found.ids[image, 0].tolist() if t != PAD] == written


@pytest.mark.parametrize("decoding", [Decoding(3, 5), Decoding(3, 5, published=True), Decoding(1, 5)])
def test_images_do_not_matter_to_each_other(decoding):
    together = write(Table(4), torch.zeros(4, 1, dtype=torch.long), decoding, SPECIALS)
    for image in range(4):
        table = Table(1)
        table.rows = [(image, ())]
        alone = write(table, torch.zeros(1, 1, dtype=torch.long), decoding, SPECIALS)
        assert torch.equal(alone.ids[0, 0], together.ids[image, 0])


def test_samples_come_as_often_as_they_are_likely():
    number = 4000
    decoding = Decoding(samples=number, max_tokens=2)
    found = write(Table(1), torch.zeros(1, 1, dtype=torch.long), decoding, SPECIALS, torch.Generator().manual_seed(0))
    counts: dict[tuple[int, ...], int] = {}
    for row, score in zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True):
        text = (*[t for t in row if t != PAD], END)[:2]
        counts[text] = counts.get(text, 0) + 1
        assert score == pytest.approx(probability(Table(1), 0, text) / len(text), abs=1e-4)
    for text in every_text(2):
        chance = math.exp(probability(Table(1), 0, text))
        error = math.sqrt(number * chance * (1 - chance))
        assert abs(counts.get(text, 0) - number * chance) < 4 * error + 1, text


def test_drawing_from_the_likeliest_alone():
    found = write(Table(1), torch.zeros(1, 1, dtype=torch.long), Decoding(samples=50, max_tokens=4, top=1), SPECIALS)
    greedy = write(Table(1), torch.zeros(1, 1, dtype=torch.long), Decoding(1, 4), SPECIALS)
    assert bool((found.ids[0] == greedy.ids[0, 0]).all())


def test_what_is_never_written():
    specials = Specials(START, END, PAD, never=(3, 4))
    for decoding in (Decoding(4, 5), Decoding(4, 5, published=True), Decoding(samples=30, max_tokens=5)):
        found = write(Table(2), torch.zeros(2, 1, dtype=torch.long), decoding, specials)
        assert not bool(((found.ids == 3) | (found.ids == 4) | (found.ids == START) | (found.ids == END)).any())


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam": 0},
        {"max_tokens": 0},
        {"temperature": 0.5},
        {"samples": 2, "published": True},
        {"samples": 2, "beam": 3},
    ],
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ConfigError):
        Decoding(**wrong)
