"""Caption metrics against the official tools' recorded results, and what must hold of them."""

import json

import pytest

from tests.golden.vectors import load, vectors
from vlfuse.metrics.caption import CiderD, bleu, caption_metrics, longest_common, rouge_l
from vlfuse.metrics.words import caption_words

NAMES = {**{f"BLEU{n}": f"bleu{n}" for n in range(1, 5)}, "ROUGE_L": "rouge_l", "CIDEr": "cider_d"}


@pytest.mark.parametrize("path", vectors("metrics_caption*.json"))
def test_words(path):
    meta = json.loads(path.read_text())
    for name, given in meta["input"].items():
        expected = meta["tokenized"][name]
        raw = [given["hypothesis"], *given["references"]]
        for text, words in zip(raw, [expected["hypothesis"], *expected["references"]], strict=True):
            assert " ".join(caption_words(text)) == words, text


@pytest.mark.parametrize("path", vectors("metrics_caption*.json"))
def test_scores(path):
    meta = json.loads(path.read_text())
    tolerance = min(meta["tolerance"].values())
    texts = list(meta["input"].values())
    hypotheses, references = [t["hypothesis"] for t in texts], [t["references"] for t in texts]
    found = caption_metrics(hypotheses, references)
    assert found == pytest.approx({o: meta["expected"]["corpus"][t] for t, o in NAMES.items()}, abs=tolerance)
    groups = [[caption_words(r) for r in group] for group in references]
    cider = CiderD.of(groups)
    for name, text, group in zip(meta["input"], hypotheses, groups, strict=True):
        words, expected = caption_words(text), meta["expected"]["per_image"][name]
        assert bleu([words], [group]) == pytest.approx([expected[f"BLEU{n}"] for n in range(1, 5)], abs=tolerance)
        assert rouge_l(words, group) == pytest.approx(expected["ROUGE_L"], abs=tolerance)
        assert cider.of_one([words], group)[0] == pytest.approx(expected["CIDEr"], abs=tolerance)


@pytest.mark.parametrize("path", vectors("fiber_coarse_caption_cider*.json"))
def test_reward_of_the_published_training(path):
    """Frequencies from a file, raw words, every sentence closed by <eos>."""
    golden = load(path)
    meta = golden.meta
    cider = CiderD({tuple(k.split()): v for k, v in meta["document_frequency"].items()}, meta["ref_len"])

    def words(text):
        return [*text.strip().removesuffix(".").split(), "<eos>"]

    share = len(meta["hypotheses"]) // len(meta["references"])
    references = [[words(r) for r in group] for group in meta["references"] for _ in range(share)]
    found = cider.scores([words(h) for h in meta["hypotheses"]], references)
    assert found == pytest.approx(golden["mid/cider_d_scores"].tolist(), rel=1e-4, abs=1e-6)


def test_frequencies_survive_a_file(tmp_path):
    cider = CiderD.of([[["a", "dog"], ["a", "cat"]], [["a", "dog", "runs"]]])
    assert cider.frequencies["a",] == 2 and cider.frequencies["a", "cat"] == 1
    cider.save(tmp_path / "frequencies.json")
    again = CiderD.load(tmp_path / "frequencies.json")
    assert again == CiderD(dict(cider.frequencies), cider.documents)


def test_what_is_no_file_of_frequencies(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="documents and frequencies"):
        CiderD.load(tmp_path / "x.json")


def test_longest_common_subsequence():
    assert longest_common(["a", "b", "c", "d"], ["b", "x", "d"]) == 2
    assert longest_common([], ["a"]) == 0


def test_captions_without_references_are_refused():
    with pytest.raises(ValueError, match="at least"):
        caption_metrics(["a dog"], [[]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't, they've won't", "i ca n't they 've wo n't"),
        ("cannot", "can not"),
        ("It costs $5.50 (50%)", "it costs $ 5.50 -lrb- 50 % -rrb-"),
        ("3 o'clock on the U.S. flag", "3 o'clock on the u.s. flag"),
        ("the boys' room", "the boys room"),
        ("", ""),
    ],
)
def test_words_of_usual_forms(text, words):
    assert " ".join(caption_words(text)) == words
