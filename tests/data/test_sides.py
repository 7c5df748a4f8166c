"""Left and right in texts of mirrored pictures."""

import pytest

from vlfuse.data.sides import can_swap, names_sides, swap_sides


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("the dog on the left", "the dog on the right"),
        ("Left of the RIGHT one", "Right of the LEFT one"),
        ("leftmost, right-hand and lefthand", "rightmost, left-hand and righthand"),
        ("bright leftovers of a copyright", "bright leftovers of a copyright"),
        ("", ""),
    ],
)
def test_words_are_exchanged(text, swapped):
    assert swap_sides(text)[0] == swapped
    assert swap_sides(swapped)[0] == text


def test_spans_keep_their_words():
    text = "left dog, right cat on the left"
    words = ["left dog", "dog", "right cat", "cat", "on the left", text]
    spans = [(text.index(word), text.index(word) + len(word)) for word in words]
    swapped, moved = swap_sides(text, spans)
    assert [swapped[start:end] for start, end in moved] == [swap_sides(word)[0] for word in words]
    assert swap_sides("a left b", [(3, 5)])[1] == ((2, 7),)  # a piece of the word becomes the word


@pytest.mark.parametrize(
    "text",
    [
        "right behind the car",
        "a slice left over",
        "the clock at 3 o'clock",
        "who left",
        "the west side",
        "sits upright",
    ],
)
def test_doubtful_words_withhold_the_mirror(text):
    assert names_sides(text) and not can_swap(text)


def test_plain_words():
    assert names_sides("the left one") and can_swap("the left one")
    assert not names_sides("a bright light") and can_swap("a bright light")
