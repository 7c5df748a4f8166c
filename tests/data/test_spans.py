"""Spans and tokens: with tokenizers that keep the blank, trim it, or break letters into bytes."""

import pytest
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from vlfuse.data.spans import check_spans, positive_map, splits_character
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.types import DataError

SCENES = Tokenizer.load("scenes")


def bytes_tokenizer(trim: bool) -> Tokenizer:
    """One token a byte, but "Ġd", "og" and "Ġdog": blanks belong to tokens unless offsets are trimmed."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    merges = [("o", "g"), ("Ġ", "d"), ("Ġd", "og")]
    for first, second in merges:
        vocabulary[first + second] = len(vocabulary)
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    if trim:
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    else:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return Tokenizer(backend)


def wordpiece() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "and", "##s", "."]
    backend = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return Tokenizer(backend)


def named(tokenizer, text, *spans, limit=64):
    encoded = tokenizer.encode_fully([text], limit)
    row = positive_map(text, encoded.offsets[0], [spans])[0]
    return [tokenizer.backend.id_to_token(int(i)) for i in encoded.tokens.ids[0][row > 0]], row


@pytest.mark.parametrize("trim", [True, False])
def test_blanks_belong_to_no_token(trim):
    tokenizer = bytes_tokenizer(trim)
    assert named(tokenizer, "a dog  dog", (2, 5))[0] == ["Ġdog"]
    assert named(tokenizer, "a dog  dog", (1, 5))[0] == ["Ġdog"]  # an end in a blank looks inwards
    assert named(tokenizer, "a dog  dog", (5, 7))[0] == []
    assert named(tokenizer, "a dog  dog", (0, 10))[0] == ["a", "Ġdog", "Ġ", "Ġdog"]


def test_rows_sum_to_one_over_all_spans_of_a_thing():
    found, row = named(wordpiece(), "a dog and a cats.", (0, 5), (10, 16))
    assert found == ["a", "dog", "a", "cat", "##s"]
    torch.testing.assert_close(row.sum(), torch.tensor(1.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(row.max(), torch.tensor(1 / 5))


def test_any_fast_tokenizer():
    text = "a red circle left of a blue star"
    start = text.index("blue star")
    for tokenizer in (SCENES, wordpiece(), bytes_tokenizer(False)):
        row = named(tokenizer, text, (start, len(text)))[1]
        assert row.count_nonzero() >= 2 and row[0] == 0 and row[-1] == 0


def test_what_is_cut_off_names_nothing():
    text = "a dog and a cat"
    assert named(wordpiece(), text, (12, 15), limit=5)[0] == []
    assert named(wordpiece(), text, (0, 15), limit=5)[0] == []  # its end is not there
    assert positive_map(text, wordpiece().encode_fully([text], 5).offsets[0], [], 5).shape == (0, 5)


def test_a_letter_of_several_tokens_is_found_by_its_first():
    found, _ = named(bytes_tokenizer(True), "é dog 😀", (6, 7))
    assert len(found) == 1
    assert named(bytes_tokenizer(True), "é dog", (0, 5))[0][-1] == "Ġdog"


@pytest.mark.parametrize("span", [(-1, 3), (3, 3), (4, 2), (0, 6), (7, 9)])
def test_spans_outside_the_caption(span):
    with pytest.raises(DataError, match=r"is not one of 'a dog', which has 5 characters; spans are \[start, end\)"):
        check_spans("a dog", [span])
    with pytest.raises(DataError):
        named(SCENES, "a dog", span)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("cafe\u0301 x", {4}),  # an accent of its own
        ("a 👍🏽 b", {3}),  # a skin tone
        ("👩\u200d🚒!", {1, 2}),  # a joined emoji
        ("🇫🇷🇩🇪", {1, 3}),  # flags
        ("❤\ufe0f", {1}),  # a variant
        ("नि", {1}),  # a vowel sign
        ("plain", set()),
        ("café 😀", set()),
    ],
)
def test_what_readers_take_for_one_character(text, inside):
    assert {place for place in range(len(text) + 1) if splits_character(text, place)} == inside
    for place in inside:
        with pytest.raises(DataError, match=f"cuts the character at {place} in two"):
            check_spans(text, [(0, place)])
