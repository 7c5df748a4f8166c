"""Tokenizers, masking of words, lists of answers."""

import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from vlfuse.data.answers import AnswerList, soft_scores
from vlfuse.data.masking import mask_tokens
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.types import ConfigError, Question, Sample

TEXTS = ["A brown dog, next to 2 laptops!", "it's   größer than\tthat", "", "dog <mask> laptop", "x" * 300]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roberta")
    bpe = tokenizers.ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(
        ["a brown dog next to a laptop and its dogs", *TEXTS], vocab_size=320, special_tokens=specials
    )
    bpe.save_model(str(folder))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a brown dog next to , ! ' it s lap ##top ##s 2 gro ##ßer ##ro than that"
    (folder / "vocab.txt").write_text(f"{words} x ##x".replace(" ", "\n"), encoding="utf-8")
    return folder


def test_roberta_files_equal_the_reference(roberta):
    ours = Tokenizer.load(roberta)
    mask = tokenizers.AddedToken("<mask>", lstrip=True)  # as in the published roberta-base
    files = {"vocab": str(roberta / "vocab.json"), "merges": str(roberta / "merges.txt")}
    theirs = transformers.RobertaTokenizer(**files, mask_token=mask)
    assert (ours.bos_id, ours.pad_id, ours.eos_id) == (0, 1, 2)
    expected = theirs(TEXTS, padding=True, truncation=True, max_length=20, return_tensors="pt")
    tokens = ours.encode(TEXTS, 20)
    assert torch.equal(tokens.ids, expected["input_ids"])
    assert torch.equal(tokens.mask, expected["attention_mask"].bool())


def test_bert_files_equal_the_reference(bert):
    ours = Tokenizer.load(bert)
    theirs = transformers.BertTokenizer(vocab=str(bert / "vocab.txt"))
    expected = theirs(TEXTS, padding="max_length", truncation=True, max_length=12, return_tensors="pt")
    assert torch.equal(ours.encode(TEXTS, 12, pad_to_max=True).ids, expected["input_ids"])


def test_case_of_a_bert_vocabulary(bert, tmp_path):
    (tmp_path / "vocab.txt").write_text((bert / "vocab.txt").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert Tokenizer.load(tmp_path).encode(["Dog"], 5).ids.tolist() == [[2, 1, 3]]
    assert Tokenizer.load(bert).encode(["Dog"], 5).ids.tolist() == [[2, 7, 3]]


def test_everything_known_of_each_token(roberta):
    tokenizer = Tokenizer.load(roberta)
    text = "a brown dog, größer"
    encoded = tokenizer.encode_fully([text, "x " * 5000], 24)
    assert encoded.truncated.tolist() == [False, True]
    assert encoded.tokens.ids[1, -1] == tokenizer.eos_id
    length = int(encoded.tokens.mask[0].sum())
    assert encoded.special[0].tolist() == [True] + [False] * (length - 2) + [True] * (24 - length + 1)
    for token, (start, end) in zip(
        encoded.tokens.ids[0, 1 : length - 1], encoded.offsets[0, 1:].tolist(), strict=False
    ):
        assert tokenizer.decode([token]) in (text[start:end], "\ufffd")  # half of a two-byte letter has no text
    assert torch.equal(encoded.tokens.ids, tokenizer.encode([text, "x " * 5000], 24).ids)
    assert tokenizer.decode(encoded.tokens.ids[0]) == text


def test_a_saved_tokenizer_is_the_same(roberta, tmp_path):
    tokenizer = Tokenizer.load(roberta)
    tokenizer.save(tmp_path / "model")
    assert torch.equal(Tokenizer.load(tmp_path / "model").encode(TEXTS, 30).ids, tokenizer.encode(TEXTS, 30).ids)


def test_the_shipped_tokenizer_reads_scenes():
    tokenizer = Tokenizer.load("scenes")
    text = "a large striped red circle left of two small squares"
    ids = tokenizer.encode([text], 30).ids
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids[0]).strip() == text


def test_settings_stored_in_a_tokenizer_file_are_not_obeyed(roberta, tmp_path):
    backend = Tokenizer.load(roberta).backend
    backend.enable_truncation(4)
    backend.enable_padding(length=50)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).encode(["a brown dog next to a laptop"], 30).ids.shape[1] > 4


def test_what_is_no_tokenizer(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no tokenizer: expected tokenizer.json, or vocab.json"):
        Tokenizer.load(tmp_path)
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match="lacks special tokens"):
        Tokenizer.load(tmp_path)


def test_masking_rates():
    rng, ids = np.random.default_rng(0), np.random.default_rng(1).integers(10, 1000, 200_000)
    special = np.zeros(ids.shape, dtype=bool)
    special[::10] = True
    masked, labels = mask_tokens(ids, special, 100_000, 4, rng)
    asked = labels != -100
    assert not asked[special].any()
    assert np.array_equal(labels[asked], ids[asked]) and np.array_equal(masked[~asked], ids[~asked])
    assert abs(asked[~special].mean() - 0.15) < 0.005
    assert abs((masked[asked] == 4).mean() - 0.8) < 0.01
    assert abs((masked[asked] == ids[asked]).mean() - 0.1) < 0.01


def test_masking_nothing_and_everything():
    ids, special = np.array([0, 5, 6, 2]), np.array([True, False, False, True])
    masked, labels = mask_tokens(ids, special, 10, 4, np.random.default_rng(0), probability=0.0)
    assert masked.tolist() == ids.tolist() and labels.tolist() == [-100] * 4
    _, labels = mask_tokens(ids, special, 10, 4, np.random.default_rng(0), probability=1.0)
    assert labels.tolist() == [-100, 5, 6, -100]


def asked(*answers):
    return Sample("", ("a",), questions=tuple(Question("q?", given) for given in answers))


def test_answer_list_keeps_order_spelling_and_counts():
    samples = [asked(("X-ray",), ("Two", "two", "2")), asked(("x ray",), ("dog",)), asked(("x-ray",), ("x-ray",), ())]
    answers = AnswerList.from_samples(samples)
    assert answers.answers == ("x-ray", "Two", "dog")
    assert AnswerList.from_samples(samples, min_count=2).answers == ("x-ray",)
    assert AnswerList.from_samples(samples, normalise=False).answers == ("x ray", "2", "dog")
    with pytest.raises(ConfigError, match="list of answers is empty"):
        AnswerList.from_samples(samples, min_count=9)


def test_soft_targets():
    answers = AnswerList(("dog", "puppy", "2"))
    target = answers.target(["dog"] * 3 + ["Puppy."] + ["two"] * 5 + ["cat"])
    torch.testing.assert_close(target, torch.tensor([0.9, 0.3, 1.0]))
    assert answers.target(["Dog"]).tolist() == [1, 0, 0]
    assert answers.target([]).tolist() == [0, 0, 0]
    assert not answers.covers(["cat"]) and answers.covers(["cat", "TWO"])
    assert AnswerList(("dog",), normalise=False).target(["Dog"]).tolist() == [0]


@pytest.mark.parametrize(
    ("count", "of", "score"), [(1, 1, 1.0), (1, 2, 1.0), (1, 3, 0.9), (1, 5, 0.6), (1, 10, 0.3), (2, 10, 0.6)]
)
def test_scores_with_other_than_ten_annotators(count, of, score):
    assert soft_scores(["dog"] * count + [f"other {i}" for i in range(of - count)])["dog"] == score
