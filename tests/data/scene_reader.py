"""A slow, separate reader of the language of scenes: it parses a text and works out its truth from the things alone.

It shares no code with the generator; what it cannot parse, or finds ambiguous, is an error.
"""

import re
from itertools import pairwise

SIZES = {"small": "small", "little": "small", "large": "large", "big": "large"}
PATTERNS = {"solid": "solid", "plain": "solid", "striped": "striped", "dotted": "dotted", "spotted": "dotted"}
COLOURS = {c: c for c in ("red", "green", "blue", "yellow", "purple", "teal", "brown", "black")}
SHAPES = {s: s for s in ("circle", "square", "triangle", "rectangle", "star", "cross")}
VALUES = {
    **{w: ("size", v) for w, v in SIZES.items()},
    **{w: ("pattern", v) for w, v in PATTERNS.items()},
    **{w: ("colour", v) for w, v in COLOURS.items()},
    **{w: ("shape", v) for w, v in SHAPES.items()},
    **{w + ("es" if w == "cross" else "s"): ("shape", w) for w in SHAPES},
}
NOUNS = {n + s for n in ("thing", "object", "shape", "item") for s in ("", "s")}
ARTICLES = {"the", "a", "an"}
NUMBERS = {w: n for n, w in enumerate(("no", "one", "two", "three", "four", "five", "six"))} | {
    str(n): n for n in range(7)
}
PLACE = r"(?:at the|on the|in the) (top left|top right|bottom left|bottom right|top|bottom|left|right|center)"
SIDES = {
    "left": ("x", -1),
    "right": ("x", 1),
    "above": ("y", -1),
    "over": ("y", -1),
    "below": ("y", 1),
    "under": ("y", 1),
}
EXTREMES = {
    "leftmost": ("x", -1),
    "rightmost": ("x", 1),
    "topmost": ("y", -1),
    "highest": ("y", -1),
    "lowest": ("y", 1),
    "bottommost": ("y", 1),
}
SAID = r"(?:is )?(?:to the )?(left|right|above|over|below|under)(?: of)?"


def place_of(thing):
    column = "left" if thing.x < 1 / 3 else "right" if thing.x > 2 / 3 else ""
    row = "top" if thing.y < 1 / 3 else "bottom" if thing.y > 2 / 3 else ""
    return f"{row} {column}".strip() or "center"


def could_be_at(thing, place):
    """A thing at the top left could be said to be at the top, but not the other way round."""
    return place == place_of(thing) or place in place_of(thing).split()


def wanted(words):
    """Attribute name -> value of a bare noun phrase such as "large striped circles"."""
    found = {}
    for word in words.split():
        if word in VALUES:
            attribute, value = VALUES[word]
            assert attribute not in found, words
            found[attribute] = value
        else:
            assert word in NOUNS | ARTICLES, f"{word!r} in {words!r}"
    return found


def matching(things, words):
    want = wanted(words)
    return [t for t in things if all(getattr(t, k) == v for k, v in want.items())]


def side_holds(thing, side, other):
    """Whether `thing` lies on that side of `other`; it must be clear."""
    axis, sign = SIDES[side]
    distance = sign * (getattr(thing, axis) - getattr(other, axis))
    assert abs(distance) > 0.1, "too close to call"
    return distance > 0


def the(things, words):
    """The one thing a reference fits, however it is read."""
    if anchored := re.fullmatch(rf"(the [\w ]+?) {SAID} (the [\w ]+)", words):
        anchor = the(things, anchored[3])
        found = [t for t in matching(things, anchored[1]) if t != anchor and side_holds(t, anchored[2], anchor)]
    elif placed := re.fullmatch(rf"(.*) {PLACE}", words):
        found = [t for t in matching(things, placed[1]) if could_be_at(t, placed[2])]
        assert all(place_of(t) == placed[2] for t in found), words
    elif words.split()[1] in EXTREMES:
        _, extreme, rest = words.split(maxsplit=2)
        axis, sign = EXTREMES[extreme]
        ranked = sorted(matching(things, rest), key=lambda t: -sign * getattr(t, axis))
        assert len(ranked) > 1 and abs(getattr(ranked[0], axis) - getattr(ranked[1], axis)) > 0.1, words
        found = ranked[:1]
    else:
        found = matching(things, words)
    assert len(found) == 1, f"{words!r} fits {len(found)} things"
    return found[0]


def bound(count, words, number):
    number = NUMBERS[number]
    return {
        "exactly": count == number,
        "at least": count >= number,
        "at most": count <= number,
        "more than": count > number,
    }[words]


def yes(value):
    return "yes" if value else "no"


# Questions: pattern -> function of (things, groups) to the answer. The first pattern that fits counts.
QUESTIONS = [
    (rf"is there ([\w ]+) {PLACE}\?", lambda t, g: _at_place(t, *g)),
    (r"(?:is|does) (?:there|the image) (?:not contain|not|no) ([\w ]+?)(?: in the image)?\?", lambda t, g: yes(not matching(t, g[0]))),
    (r"is no ([\w ]+) present\?", lambda t, g: yes(not matching(t, g[0]))),
    (
        r"(?:is there|does the image contain|does the picture show|can you see|is) (an? [\w ]+?)(?: in the picture| in the image| present)?\?",
        lambda t, g: yes(matching(t, g[0])),
    ),
    (
        r"(?:how many|count the|what number of) ([\w ]+?)(?: are there| are in the picture| can you see)?[?.]",
        lambda t, g: str(len(matching(t, g[0]))),
    ),
    (r"where (?:in the picture )?is (the .+)\?", lambda t, g: place_of(the(t, g[0]))),
    (r"in which part of the image is (the .+)\?", lambda t, g: place_of(the(t, g[0]))),
    (r"are there (more|fewer|as many) ([\w ]+) (?:than|as) ([\w ]+)\?", lambda t, g: yes(_compare(t, *g))),
    (r"is (the .+) (bigger|larger|smaller) than (the .+)\?", lambda t, g: yes(_bigger(the(t, g[0]), g[1], the(t, g[2])))),
    (r"do (the .+) and (the .+) have the same (\w+)\?", lambda t, g: yes(_same(t, *g))),
    (r"is the (\w+) of (the .+) the same as that of (the .+)\?", lambda t, g: yes(_same(t, g[1], g[2], g[0]))),
    (r"are (the .+) and (the .+) of the same (\w+)\?", lambda t, g: yes(_same(t, *g))),
    (r"is (the .+) to the left or to the right of (the .+)\?", lambda t, g: _which(t, g, "left", "right")),
    (r"is (the .+) above or below (the .+)\?", lambda t, g: _which(t, g, "above", "below")),
    (r"is (the .+) small or large\?", lambda t, g: the(t, g[0]).size),
    (r"is (the .+) solid, striped or dotted\?", lambda t, g: the(t, g[0]).pattern),
    (r"(?:what|which) (color|shape|pattern|size) (?:is|does) (the .+?)(?: have)?\?", lambda t, g: _value(the(t, g[1]), g[0])),
    (r"what is the (color|shape|pattern|size) of (the .+)\?", lambda t, g: _value(the(t, g[1]), g[0])),
    (r"(the .+) is what color\?", lambda t, g: the(t, g[0]).colour),
    (r"how big is (the .+)\?", lambda t, g: the(t, g[0]).size),
    (r"what is (the .+)\?", lambda t, g: the(t, g[0]).shape),
    (rf"is (the .+?) {SAID} (the .+)\?", lambda t, g: yes(side_holds(the(t, g[0]), g[1], the(t, g[2])))),
]  # fmt: skip


def _first(patterns, text, *things):
    for pattern, evaluate in patterns:
        if found := re.fullmatch(pattern, text):
            return evaluate(*things, found.groups())
    raise AssertionError(f"no reading of {text!r}")


def _value(thing, word):
    return getattr(thing, "colour" if word == "color" else word)


def _at_place(things, words, place):
    found = matching(things, words)
    if any(place_of(t) == place for t in found):
        return "yes"
    assert not any(could_be_at(t, place) for t in found), "ambiguous place"
    return "no"


def _compare(things, how, first, second):
    x, y = len(matching(things, first)), len(matching(things, second))
    return {"more": x > y, "fewer": x < y, "as many": x == y}[how]


def _bigger(first, how, second):
    assert first.size != second.size
    return (first.size == "large") == (how != "smaller")


def _same(things, first, second, word):
    one, other = the(things, first), the(things, second)
    assert one != other
    return _value(one, word) == _value(other, word)


def _which(things, groups, first, second):
    return first if side_holds(the(things, groups[0]), first, the(things, groups[1])) else second


def answer(things, question):
    return _first(QUESTIONS, question, things)


BOUND = r"(exactly|at least|at most|more than) (\w+)"
STATEMENTS = [
    (rf"there (?:is|are) {BOUND} ([\w ]+)\.", lambda t, g: bound(len(matching(t, g[2])), g[0], g[1])),
    (r"there (?:is|are) no ([\w ]+)\.", lambda t, g: not matching(t, g[0])),
    (r"(?:there is|the image contains|the picture shows) (an? [\w ]+?)(?: in the picture)?\.", lambda t, g: bool(matching(t, g[0]))),
    (r"(an? [\w ]+) can be seen\.", lambda t, g: bool(matching(t, g[0]))),
    (r"(?:every|all) ([\w ]+) (?:is|are) ([\w ]+)\.", lambda t, g: {id(x) for x in matching(t, g[0])} <= {id(x) for x in matching(t, g[1])}),
    (r"there are (more|fewer|as many) ([\w ]+) (?:than|as) ([\w ]+)\.", lambda t, g: _compare(t, *g)),
    (r"(the .+?) is (a \w+|solid|striped|dotted|red|green|blue|yellow|purple|teal|brown|black)\.", lambda t, g: the(t, g[0]) in matching(t, g[1])),
    (rf"(the .+?) {SAID} (the .+)\.", lambda t, g: side_holds(the(t, g[0]), g[1], the(t, g[2]))),
]  # fmt: skip

IN = r"(?:in|on)"
P = r"(?:picture|image)"
PAIRS = [
    (rf"there are {BOUND} ([\w ]+) in the (left|right) {P}\.", lambda a, b, g: bound(_n(a if g[3] == "left" else b, g[2]), g[0], g[1])),
    (rf"there are {BOUND} ([\w ]+) in the two {P}s together\.", lambda a, b, g: bound(_n(a + b, g[2]), g[0], g[1])),
    (rf"the two {P}s have {BOUND} ([\w ]+) in total\.", lambda a, b, g: bound(_n(a + b, g[2]), g[0], g[1])),
    (rf"the (left|right) {P} has more ([\w ]+) than the (?:left|right) {P}\.", lambda a, b, g: (_n(a, g[1]) - _n(b, g[1])) * (1 if g[0] == "left" else -1) > 0),
    (rf"there are more ([\w ]+) on the left {P} than on the right one\.", lambda a, b, g: _n(a, g[0]) > _n(b, g[0])),
    (rf"there are fewer ([\w ]+) in the left {P} than in the right one\.", lambda a, b, g: _n(a, g[0]) < _n(b, g[0])),
    (rf"both {P}s have the same number of ([\w ]+)\.", lambda a, b, g: _n(a, g[0]) == _n(b, g[0])),
    (rf"there are as many ([\w ]+) in the left {P} as in the right one\.", lambda a, b, g: _n(a, g[0]) == _n(b, g[0])),
    (rf"the (left|right) {P} contains ([\w ]+)\.", lambda a, b, g: _n(a if g[0] == "left" else b, g[1]) > 0),
    (rf"there is ([\w ]+) in the (left|right) {P}\.", lambda a, b, g: _n(a if g[1] == "left" else b, g[0]) > 0),
    (rf"both {P}s contain ([\w ]+)\.", lambda a, b, g: _n(a, g[0]) > 0 and _n(b, g[0]) > 0),
    (rf"there is ([\w ]+) in each {P}\.", lambda a, b, g: _n(a, g[0]) > 0 and _n(b, g[0]) > 0),
    (rf"each of the two {P}s shows ([\w ]+)\.", lambda a, b, g: _n(a, g[0]) > 0 and _n(b, g[0]) > 0),
    (rf"there is not ([\w ]+) in either of the {P}s\.", lambda a, b, g: _n(a + b, g[0]) == 0),
    (rf"neither {P} contains ([\w ]+)\.", lambda a, b, g: _n(a + b, g[0]) == 0),
    (rf"at least one {P} contains ([\w ]+)\.", lambda a, b, g: _n(a + b, g[0]) > 0),
    (rf"there is ([\w ]+) in either {P}\.", lambda a, b, g: _n(a + b, g[0]) > 0),
    (rf"exactly one {P} contains ([\w ]+)\.", lambda a, b, g: (_n(a, g[0]) > 0) != (_n(b, g[0]) > 0)),
    (rf"only one of the {P}s shows ([\w ]+)\.", lambda a, b, g: (_n(a, g[0]) > 0) != (_n(b, g[0]) > 0)),
]  # fmt: skip


def _n(things, words):
    return len(matching(things, words))


def truth(things, statement):
    return _first(STATEMENTS, statement, things)


def pair_truth(left, right, statement):
    return _first(PAIRS, statement, list(left), list(right))


def entailed(things, curtain, statement, possible):
    """The label of a statement, by trying every one of the `possible` things behind the curtain, alone and in pairs and threes."""
    worlds = [list(things)]
    if curtain is not None:
        worlds += [[*things, *[extra] * n] for extra in possible for n in (1, 2, 3)]
    truths = {truth(world, statement) for world in worlds}
    return {frozenset([True]): "entailment", frozenset([False]): "contradiction"}.get(frozenset(truths), "neutral")


def read_caption(caption, things, phrases):
    """The phrases of a caption: each must name just the things of its boxes, in order and without overlap."""
    for (_, end), (start, _) in pairwise(span for span, _ in phrases):
        assert end <= start
    for (start, end), held in phrases:
        words = caption[start:end].split()
        number = 1 if words[0] in ARTICLES or words[0] not in NUMBERS else NUMBERS[words[0]]
        assert number == len(held), caption
        want = wanted(" ".join(w for w in words if w not in NUMBERS))
        assert all(getattr(t, k) == v for t in held for k, v in want.items()), caption
        placed = re.match(rf" {PLACE}", caption[end:])
        if placed and len(held) == 1:
            assert place_of(held[0]) == placed[1], caption
        related = re.match(r" (?:to its (left|right)|(above|below) it)", caption[end:])
        if related:
            assert side_holds(held[0], related[1] or related[2], phrases[0][1][0]), caption


def read_dense(caption, things, phrases):
    """A dense caption names each thing once, with every attribute and its place."""
    places = "top left|top right|bottom left|bottom right|top|bottom|left|right|center"
    first = re.match(rf"(?:(?:at the|on the|in the) )?(?:{places})\b", caption)  # the place comes before its thing
    named, done = [], 0
    for n, ((start, end), held) in enumerate(phrases):
        until = phrases[n + 1][0][0] if n + 1 < len(phrases) else len(caption)
        said = re.search(rf"\b(?:{places})\b", caption[done:start] if first else caption[end:until])
        assert said and len(held) == 1 and said[0] == place_of(held[0]), caption
        assert len(wanted(caption[start:end])) == 4
        named += held
        done = end
    assert sorted(named) == sorted(things)
