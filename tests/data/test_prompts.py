"""Class names as prompts: every name in its place, lists of any length, and what cannot be asked for."""

import numpy as np
import pytest
import torch

from tests.data.test_spans import bytes_tokenizer, wordpiece
from vlfuse.data.prompts import Negatives, PromptMaker, class_prompts, clean_name, join_names
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.types import ConfigError, TaskError

TOKENIZER = Tokenizer.load("scenes")
BYTES = bytes_tokenizer(True)


def names_of(number):
    return [f"thing {i}" for i in range(number)]


@pytest.mark.parametrize("number", [1, 40, 1203, 5000])
@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTES])
def test_lists_of_any_length(number, tokenizer):
    names = names_of(number)
    prompts = class_prompts(names, tokenizer, 64)
    assert [thing for prompt in prompts for thing in prompt.things] == list(range(number))
    lengths = tokenizer.encode([prompt.text for prompt in prompts], 10**6).mask.sum(1)
    assert int(lengths.max()) <= 64
    assert int(lengths[:-1].min() if number > 40 else 64) > 45  # full, but for what one more name would take
    for prompt in prompts[:3] + prompts[-3:]:
        rows = prompt.map(tokenizer, 64)
        assert len(rows) == len(prompt.things) and bool((rows.sum(1) > 0.99).all())
        assert int((rows > 0).sum(0).max()) == 1  # no token names two things
        for thing, spans in zip(prompt.things, prompt.spans, strict=True):
            assert prompt.text[slice(*spans[0])] == names[thing]


def test_at_most_so_many_names():
    assert [len(p.things) for p in class_prompts(names_of(7), TOKENIZER, 64, most=3)] == [3, 3, 1]


def test_a_name_given_twice_is_asked_once_and_alike_names_each():
    (prompt,) = class_prompts(["dog", "cat", "dog", "bow_(weapon)", "bow_(ribbon)"], TOKENIZER, 64)
    assert prompt.text == "dog. cat. bow . bow "
    assert prompt.things == (0, 1, 3, 4)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no classes to look for; give at least one"),
        (["dog", " "], "class 1 is ' '"),
        (["dog", ""], "class 1 is ''"),
        (["dog", "a \ud83d"], r"class 1 is 'a \\ud83d'; .* whole letters"),
        (["dog", "x" * 300], r"class 1 \('x+\.\.\.'\) alone takes 302 tokens, a prompt holds 64; shorten"),
    ],
)
def test_what_cannot_be_asked_for(names, says):
    with pytest.raises(TaskError, match=says):
        class_prompts(names, BYTES, 64)


def test_a_name_just_as_long_as_a_prompt():
    (prompt,) = class_prompts(["x" * 62], BYTES, 64)
    assert prompt.map(BYTES, 64).count_nonzero() == 62
    assert [p.things for p in class_prompts(["x" * 62, "y" * 62, "z"], BYTES, 64)] == [(0,), (1,), (2,)]


def test_separators_inside_names():
    (prompt,) = class_prompts(["st. bernard", "st", "bernard. st"], BYTES, 64)
    assert [prompt.text[slice(*spans[0])] for spans in prompt.spans] == ["st. bernard", "st", "bernard. st"]


def test_names_of_rare_letters_and_unknown_words():
    (prompt,) = class_prompts(["犬", "😀", "naïve"], BYTES, 64)
    assert bool((prompt.map(BYTES, 64).sum(1) > 0.99).all())
    (prompt,) = class_prompts(["qwx", "dog"], wordpiece(), 64)
    assert bool((prompt.map(wordpiece(), 64).sum(1) > 0.99).all())


def test_names_are_cleaned_as_published():
    assert clean_name("alcohol_(beverage)") == "alcohol "
    assert clean_name("hot_dog") == "hot dog" and clean_name("(only)") == "(only)"


def test_texts_around_names_are_not_part_of_them():
    prompt = join_names(["fish", "puffin"], around=[(" ", ""), ("a ", " with orange beaks ")])
    assert prompt.text == " fish. a puffin with orange beaks "
    assert [prompt.text[slice(*spans[0])] for spans in prompt.spans] == ["fish", "puffin"]


def test_all_classes_in_every_prompt_in_changing_order():
    maker = PromptMaker(("dog", "cat", "red star"), TOKENIZER, 32)
    drawn = [maker.draw([1], np.random.default_rng(seed)) for seed in range(20)]
    assert {prompt.things for prompt in drawn} > {(0, 1, 2)} and all(sorted(p.things) == [0, 1, 2] for p in drawn)
    plain = PromptMaker(maker.names, TOKENIZER, 32, shuffle=False)
    assert plain.draw([], np.random.default_rng(3)).text == "dog. cat. red star"


def test_negatives_are_drawn_in_the_given_shares():
    negatives = Negatives(10, one=0.2, none=0.1, full=0.3)
    drawn = np.bincount([negatives.draw(np.random.default_rng(seed)) for seed in range(4000)], minlength=11) / 4000
    assert drawn[0] == pytest.approx(0.1, abs=0.02)
    assert drawn[10] == pytest.approx(0.3 + 0.04, abs=0.03)
    assert drawn[1] == pytest.approx(0.2 + 0.04, abs=0.03)
    assert drawn[2:10] == pytest.approx(0.04, abs=0.015)


def test_positives_come_first_and_never_as_negatives():
    maker = PromptMaker(tuple(names_of(300)), BYTES, 64, Negatives(200, 0, 0, 1))
    for seed in range(10):
        present = [5, 7, 5, 299]
        prompt = maker.draw(present, np.random.default_rng(seed))
        assert set(present) <= set(prompt.things) and len(set(prompt.things)) == len(prompt.things)
        assert 40 < int(BYTES.encode([prompt.text], 10**6).mask.sum()) <= 64
    crowded = maker.draw(range(300), np.random.default_rng(0))
    assert len(crowded.things) >= 4 and int(BYTES.encode([crowded.text], 10**6).mask.sum()) <= 64


def test_negatives_only_of_what_is_known_to_be_absent():
    maker = PromptMaker(tuple(names_of(50)), TOKENIZER, 200, Negatives(20, 0, 0, 1))
    assert sorted(maker.draw([3], np.random.default_rng(0), absent=[8, 9]).things) == [3, 8, 9]
    assert len(maker.draw([], np.random.default_rng(0), absent=[8]).things) == 1


def test_a_picture_without_objects_has_a_prompt_too():
    maker = PromptMaker(tuple(names_of(5)), TOKENIZER, 64, Negatives(2, 0, 1, 0))
    assert len(maker.draw([], np.random.default_rng(0)).things) == 1


def test_settings_that_cannot_work():
    with pytest.raises(ConfigError, match=r"the 300 classes take \d+ prompts of 64 tokens; draw negatives"):
        PromptMaker(tuple(names_of(300)), TOKENIZER, 64)
    with pytest.raises(ConfigError, match="the class 'a' occurs twice"):
        PromptMaker(("a", "b", "a"), TOKENIZER, 64)
    with pytest.raises(ConfigError, match="negatives: most 0"):
        Negatives(0)
    with pytest.raises(ConfigError, match="sum to at most 1"):
        Negatives(5, 0.5, 0.5, 0.5)


def test_the_map_is_that_of_the_padded_text():
    prompt = join_names(["dog", "cat"])
    assert torch.equal(prompt.map(TOKENIZER, 64) > 0, prompt.map(TOKENIZER, 10) > 0)
