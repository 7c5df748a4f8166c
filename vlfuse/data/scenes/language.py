"""How scenes are put into words: names of things, unambiguous references,
captions with the things their phrases name."""

from __future__ import annotations

import random
from itertools import combinations

from vlfuse.data.scenes.world import (
    ATTRIBUTES,
    COLOUR,
    PATTERN,
    SHAPE,
    SIZE,
    Spec,
    Thing,
    View,
    getter,
    is_held_out,
    pick,
    relation_holds,
)

NOUNS = ("thing", "object", "shape", "item")
ALSO = {"large": "big", "small": "little", "solid": "plain", "dotted": "spotted"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
AT = {
    "top left": "at the top left",
    "top": "at the top",
    "top right": "at the top right",
    "left": "on the left",
    "center": "in the center",
    "right": "on the right",
    "bottom left": "at the bottom left",
    "bottom": "at the bottom",
    "bottom right": "at the bottom right",
}
COVERS = {place: frozenset(q for q in AT if place in q.split() or q == place) for place in AT}
"""The places a word may be taken for: a thing at the top left is at the top, too."""
RELATED = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
RELATED_SHORT = {"left": "left of", "right": "right of", "above": "over", "below": "under"}
EXTREMES = {  # superlative -> the relation it has to every other thing
    "leftmost": "left",
    "rightmost": "right",
    "topmost": "above",
    "highest": "above",
    "lowest": "below",
    "bottommost": "below",
}

SPECS: tuple[Spec, ...] = tuple(s for n in (1, 2, 3, 4) for s in combinations((SIZE, PATTERN, COLOUR, SHAPE), n))
SPECS_WITHOUT = {a: tuple(s for s in SPECS if a not in s) for a in (SIZE, PATTERN, COLOUR, SHAPE)}
SPECS_WITHOUT[-1] = SPECS


# --- names -----------------------------------------------------------------------------------------------------


def name(rng: random.Random, spec: Spec, values: tuple[str, ...]) -> str:
    """The words for some attributes: "red circle", "small striped thing"; now and then with another word for one."""
    if rng.random() < 0.15:
        values = tuple([ALSO.get(value, value) for value in values])
    words = " ".join(values)
    if spec and spec[-1] == SHAPE:
        return words
    return f"{words} {pick(rng, NOUNS)}".lstrip()


def full_name(thing: Thing) -> str:
    """All four attributes in their usual words."""
    return f"{thing[0]} {thing[1]} {thing[2]} {thing[3]}"


def plural(words: str) -> str:
    return words + ("es" if words.endswith(("ss", "x")) else "s")


def figure(rng: random.Random, number: int, digits: float) -> str:
    """ "3" in a share `digits` of the cases, and "three" in the others."""
    return str(number) if rng.random() < digits else NUMBERS[number]


def a(words: str) -> str:
    return f"an {words}" if words.startswith(("object", "item")) else f"a {words}"


def counted(number: int, words: str) -> str:
    """ "a red circle", "two red circles", "no red circles"."""
    return a(words) if number == 1 else f"{NUMBERS[number]} {plural(words)}"


# --- references ------------------------------------------------------------------------------------------------


def refer(view: View, rng: random.Random, index: int, without: int = -1, places: bool = True) -> str | None:
    """A description that fits thing `index` and no other, never naming attribute `without`; None where none was found.

    places: allow "the circle at the top left" and "the leftmost thing" beside plain attributes.
    """
    things = view.things
    thing = things[index]
    choice = rng.random() if places else 0.0
    specs = SPECS_WITHOUT[without]
    if choice < 0.6:
        for _ in range(4):
            spec = pick(rng, specs)
            values = getter(spec)(thing)
            if len(view.groups(spec)[values]) == 1:
                return "the " + name(rng, spec, values)
        return None
    spec = pick(rng, specs) if rng.random() < 0.6 else ()
    values = getter(spec)(thing)
    rivals = view.groups(spec)[values]
    if choice < 0.85:
        place = thing.place
        covers = COVERS[place]
        if any(things[k].place in covers for k in rivals if k != index):
            return None
        return f"the {name(rng, spec, values)} {AT[place]}"
    if len(rivals) == 1:
        return None  # "the leftmost circle" supposes others
    word = pick(rng, tuple(EXTREMES))
    relation = EXTREMES[word]
    if all(relation_holds(relation, thing, things[k]) for k in rivals if k != index):
        return f"the {word} {name(rng, spec, values)}"
    return None


def expressions(view: View, rng: random.Random, number: int) -> list[tuple[str, int]]:
    """Up to `number` referring expressions with the index of the one thing each fits."""
    found: dict[str, int] = {}
    for _ in range(4 * number):
        index = int(rng.random() * len(view.things))
        text = refer(view, rng, index)
        if text is None:
            continue
        other = int(rng.random() * len(view.things))
        if other != index and rng.random() < 0.25:
            text = _by_relation(view, rng, index, other) or text
        found[text] = index
        if len(found) == number:
            break
    return list(found.items())


def _by_relation(view: View, rng: random.Random, index: int, other: int) -> str | None:
    """ "the circle to the left of the blue star", where just one circle is and none may be taken to be."""
    relation = pick(rng, tuple(RELATED))
    spec = pick(rng, ((SHAPE,), (COLOUR,), ()))
    values = getter(spec)(view.things[index])
    anchor = view.things[other]
    for k in view.groups(spec)[values]:
        if k != other and relation_holds(relation, view.things[k], anchor) is not (k == index):
            return None
    text = refer(view, rng, other, places=False)
    return text and f"the {name(rng, spec, values)} {pick(rng, (RELATED, RELATED_SHORT))[relation]} {text}"


def absent(view: View, rng: random.Random, spec: Spec) -> tuple[str, ...] | None:
    """Values at `spec` that no thing has; as often as not each of them is some thing's, only never together."""
    groups = view.groups(spec)
    for _ in range(4):
        if len(spec) > 1 and rng.random() < 0.6:
            values = tuple([pick(rng, view.things).value(k) for k in spec])
        else:
            values = tuple([pick(rng, ATTRIBUTES[k]) for k in spec])
        if values not in groups and (view.novel or not is_held_out(spec, values)):
            return values
    return None


# --- captions --------------------------------------------------------------------------------------------------

Piece = tuple[str, tuple[int, ...]]
"""Words and the indices of the things they name; no indices for words between phrases."""


def dense_caption(view: View, rng: random.Random) -> list[Piece]:
    """Every thing with all its attributes and its place, at most about sixty tokens."""
    things = view.things
    order = list(range(len(things)))
    if rng.random() < 0.5:
        order.sort(key=lambda k: (things[k].place not in ("top left", "top", "top right"), things[k].y))
    style = rng.random()
    pieces: list[Piece] = []
    last = len(order) - 1
    if style < 0.35:  # top left: small striped red circle; center: ...
        for n, k in enumerate(order):
            pieces.append((f"{things[k].place}: ", ()))
            pieces.append((full_name(things[k]), (k,)))
            pieces.append((";" if n < last else ".", ()))
            pieces.append((" " if n < last else "", ()))
        return pieces
    if style < 0.5 and len(order) < 5:
        pieces.append((pick(rng, OPENINGS), ()))
    short = len(order) > 4 or rng.random() < 0.4
    first = style > 0.8
    for n, k in enumerate(order):
        place = things[k].place if short and not first else AT[things[k].place]
        if first:
            pieces.append((f"{place} ", ()))
            pieces.append((f"a {full_name(things[k])}", (k,)))
        else:
            pieces.append((f"a {full_name(things[k])}", (k,)))
            pieces.append((f" {place}", ()))
        if n < last:
            pieces.append((" and " if n == last - 1 else ", ", ()))
    return pieces


OPENINGS = ("there is ", "a picture with ", "an image of ", "we see ", "this shows ")


def light_caption(view: View, rng: random.Random) -> list[Piece]:
    """A shorter caption: kinds with their numbers, some things with their places, or how some things lie."""
    style = rng.random()
    if style < 0.45:
        return _kinds_caption(view, rng)
    if style < 0.75:
        return _relation_caption(view, rng) or _kinds_caption(view, rng)
    indices = rng.sample(range(len(view.things)), min(len(view.things), 2 + int(rng.random() * 2)))
    pieces: list[Piece] = [(pick(rng, OPENINGS), ())] if rng.random() < 0.3 else []
    for n, k in enumerate(indices):
        spec = pick(rng, SPECS)
        words = name(rng, spec, getter(spec)(view.things[k]))
        pieces.append((a(words), (k,)))
        pieces.append((f" {AT[view.things[k].place]}", ()))
        if n < len(indices) - 1:
            pieces.append((" and " if n == len(indices) - 2 else ", ", ()))
    return pieces


def _kinds_caption(view: View, rng: random.Random) -> list[Piece]:
    """ "two red circles and a star": all things, grouped by some of their attributes."""
    spec = pick(rng, ((SHAPE,), (COLOUR,), (COLOUR, SHAPE), (COLOUR, SHAPE), (SIZE, SHAPE), (PATTERN, SHAPE)))
    pieces: list[Piece] = [(pick(rng, OPENINGS), ())] if rng.random() < 0.3 else []
    groups = list(view.groups(spec).items())
    for n, (values, indices) in enumerate(groups):
        pieces.append((counted(len(indices), name(rng, spec, values)), tuple(indices)))
        if n < len(groups) - 1:
            pieces.append((" and " if n == len(groups) - 2 else ", ", ()))
    return pieces


def _relation_caption(view: View, rng: random.Random) -> list[Piece] | None:
    """ "a small red circle to the left of a blue star", with a third thing where there is one in a clear place."""
    indices = rng.sample(range(len(view.things)), min(3, len(view.things)))
    pieces: list[Piece] = []
    for n, k in enumerate(indices):
        thing = view.things[k]
        spec = pick(
            rng, ((COLOUR, SHAPE), (SIZE, COLOUR, SHAPE), (PATTERN, COLOUR, SHAPE), (SIZE, PATTERN, COLOUR, SHAPE))
        )
        words = a(name(rng, spec, getter(spec)(thing)))
        if n == 0:
            pieces.append((words, (k,)))
            continue
        anchor = view.things[indices[0]]
        true = [r for r in RELATED if relation_holds(r, thing, anchor)]
        if not true:
            continue
        side = pick(rng, true)
        where = {"left": "to its left", "right": "to its right", "above": "above it", "below": "below it"}[side]
        pieces.append((" with " if len(pieces) == 1 else " and ", ()))
        pieces.append((words, (k,)))
        pieces.append((f" {where}", ()))
    return pieces if len(pieces) > 1 else None


def join(pieces: list[Piece]) -> tuple[str, list[tuple[tuple[int, int], tuple[int, ...]]]]:
    """The caption, and the character span [start, end) of each phrase with the things it names."""
    spans, start = [], 0
    for words, indices in pieces:
        if indices:
            spans.append(((start, start + len(words)), indices))
        start += len(words)
    return "".join([words for words, _ in pieces]), spans
