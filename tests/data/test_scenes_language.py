"""The words of generated scenes: their tokenizer, and how little they give away without the picture."""

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from vlfuse.data.scenes import SceneDataset
from vlfuse.data.scenes.balance import KINDS, measure, words_alone
from vlfuse.data.scenes.vocabulary import TOKENIZER, build


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(TOKENIZER))


def test_shipped_tokenizer_is_the_one_the_script_makes(tokenizer):
    assert build().to_str(pretty=True) == tokenizer.to_str(pretty=True)
    assert Path(TOKENIZER).stat().st_size < 200_000


def test_special_ids_are_robertas(tokenizer):
    assert [tokenizer.token_to_id(t) for t in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert tokenizer.token_to_id("<mask>") == tokenizer.get_vocab_size() - 1
    assert 800 <= tokenizer.get_vocab_size() <= 1200
    encoded = tokenizer.encode("A red circle.")
    assert encoded.tokens[0] == "<s>" and encoded.tokens[-1] == "</s>"
    assert encoded.offsets[1:-1] == [(0, 1), (2, 5), (6, 12), (12, 13)]


def test_any_text_survives(tokenizer):
    text = "naïve 図 [x] <3 fire-hydrant 42"
    assert tokenizer.decode(tokenizer.encode(text).ids).strip() == text


@pytest.mark.parametrize(
    "options", [{"split": "train"}, {"split": "novel"}, {"paired": True}, {"entailment": True}, {"trays": True}]
)
def test_every_word_is_one_token_and_captions_are_short(tokenizer, options):
    dataset = SceneDataset(300, seed=77, statements=6, size=64, **options)
    for i in range(300):
        sample = dataset[i]
        texts = [*sample.captions, *(q.question for q in sample.questions), *(s.text for s in sample.statements)]
        for text in texts:
            tokens = tokenizer.encode(text).tokens
            assert len(tokens) - 2 == len(re.findall(r"\w+|[^\w\s]", text)), tokens
            assert len(tokens) <= 64


CEILINGS = {"questions": 0.40, "statements": 0.55, "pairs": 0.55, "entailment": 0.40, "trays": 0.57}


@pytest.mark.parametrize("kind", KINDS)
def test_words_alone_tell_little(kind):
    """A reader of the words alone stays below the stated ceilings (chance: a half, a third for entailment)."""
    balance = measure(kind, train=1200, test=600)
    assert balance.accuracy < CEILINGS[kind], balance
    for name in ("existence", "relation", "comparison", "size"):
        assert balance.by_kind.get(name, 0) < 0.6, balance


def test_reader_of_words_finds_what_the_words_do_give_away():
    """The measure itself has teeth: a question with its answer hidden in its wording is answered."""
    texts = [
        ("k", f"is there a {w} {n}?", "yes" if (n == "circle") == (w == "red") else "no")
        for w in ("red", "blue")
        for n in ("circle", "star")
    ]
    assert words_alone(texts * 100, texts * 10).accuracy == 1.0
