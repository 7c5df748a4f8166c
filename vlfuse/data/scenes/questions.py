"""Questions with one answer, balanced so that the words give little away.

Every template asks only where each of its answers could have been true of the scene, and then tosses a coin; what it
mentions is drawn in the same way whatever the answer. `balance.py` measures what a reader of the words alone can reach.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from vlfuse.data.scenes.language import AT, COVERS, NOUNS, RELATED, RELATED_SHORT, a, absent, name, plural, refer
from vlfuse.data.scenes.world import (
    COLOUR,
    COLOURS,
    OPPOSITE,
    PATTERN,
    PATTERNS,
    PLACES,
    RELATIONS,
    SHAPE,
    SHAPES,
    SIZE,
    SIZES,
    Spec,
    View,
    getter,
    pick,
    relation_holds,
)

COUNTS = ("0", "1", "2", "3", "4", "5", "6")
ANSWERS: tuple[str, ...] = tuple(
    dict.fromkeys(("yes", "no", *COUNTS, *COLOURS, *SHAPES, *SIZES, *PATTERNS, *PLACES, *RELATIONS))
)
"""The closed list every answer is from."""

T = TypeVar("T")
Asked = tuple[str, str] | None

MENTIONED: tuple[Spec, ...] = (
    (COLOUR, SHAPE),
    (COLOUR, SHAPE),
    (PATTERN, SHAPE),
    (SIZE, SHAPE),
    (PATTERN, COLOUR),
    (SIZE, COLOUR),
    (SIZE, COLOUR, SHAPE),
    (PATTERN, COLOUR, SHAPE),
    (SHAPE,),
    (COLOUR,),
)
COUNTED: dict[Spec, tuple[float, ...]] = {
    # How often to try for 0, 1, 2, ...: the inverse of how often a scene has something in that number, as measured.
    (SHAPE,): (1.1, 1.5, 2.0, 5.2, 13.5),
    (COLOUR,): (1.0, 1.4, 2.1, 6.1, 14.9),
    (PATTERN,): (1.6, 1.7, 1.9, 3.5, 9.0),
    (COLOUR, SHAPE): (1.1, 1.15, 3.1, 11.9),
    (PATTERN, SHAPE): (1.1, 1.15, 2.4, 9.1),
    (SIZE, SHAPE): (1.2, 1.15, 2.1, 8.0),
}


def toss(rng: random.Random, true: Sequence[T], false: Sequence[T]) -> tuple[bool, T] | None:
    """A fair coin between the two lists; None unless both have something, which keeps the coin fair."""
    if not true or not false:
        return None
    return (True, pick(rng, true)) if rng.random() < 0.5 else (False, pick(rng, false))


def tally(view: View, rng: random.Random, spec: Spec) -> list[tuple[tuple[str, ...], int]]:
    """What could be mentioned at `spec` with its number in the scene: all there is,
    and one or two things there are not."""
    found = [(values, len(indices)) for values, indices in view.groups(spec).items()]
    for _ in range(2):
        values = absent(view, rng, spec)
        if values is not None:
            found.append((values, 0))
    return found


def there_or_not(view: View, rng: random.Random, spec: Spec) -> tuple[bool, str] | None:
    """The name of something at `spec`, and whether it is there, by a fair coin."""
    claims = tally(view, rng, spec)
    found = toss(rng, [c for c in claims if c[1]], [c for c in claims if not c[1]])
    return found and (found[0], name(rng, spec, found[1][0]))


def two_related(view: View, rng: random.Random) -> tuple[str, str, list[str]] | None:
    """Descriptions of two things, and the relations that clearly hold of the first and the second."""
    first, second = rng.sample(range(len(view.things)), 2)
    clear = [r for r in RELATIONS if relation_holds(r, view.things[first], view.things[second])]
    if not clear:
        return None
    one, other = refer(view, rng, first, places=False), refer(view, rng, second, places=False)
    return None if one is None or other is None else (one, other, clear)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


# --- templates -------------------------------------------------------------------------------------------------

EXISTS = (
    "is there {}?",
    "is there {} in the picture?",
    "is there {} in the image?",
    "does the image contain {}?",
    "does the picture show {}?",
    "can you see {}?",
    "is {} present?",
)
EXISTS_NOT = ("is there not {}?", "is there no {}?", "does the image not contain {}?", "is no {} present?")


def existence(view: View, rng: random.Random) -> Asked:
    spec = pick(rng, MENTIONED)
    if rng.random() < 0.2:
        return _existence_at_place(view, rng, spec)
    found = there_or_not(view, rng, spec)
    if found is None:
        return None
    there, words = found
    if rng.random() < 0.15:
        form = pick(rng, EXISTS_NOT)
        return form.format(words if "no {}" in form else a(words)), _yes(not there)
    return pick(rng, EXISTS).format(a(words)), _yes(there)


def _existence_at_place(view: View, rng: random.Random, spec: Spec) -> Asked:
    """ "is there a circle at the top left?"; denied only where no circle could be said to be there."""
    things = view.things
    here, place = int(rng.random() * len(things)), pick(rng, things).place
    values = getter(spec)(things[here])
    group = view.groups(spec)[values]
    covered = [k for k in group if things[k].place in COVERS[place]]
    if rng.random() < 0.5:
        place = things[here].place
    elif covered:
        return None
    return f"is there {a(name(rng, spec, values))} {AT[place]}?", _yes(any(things[k].place == place for k in group))


HOW_MANY = (
    "how many {} are there?",
    "how many {} are in the picture?",
    "how many {} can you see?",
    "count the {}.",
    "what number of {} are there?",
)


def count(view: View, rng: random.Random) -> Asked:
    if rng.random() < 0.1:
        return pick(rng, HOW_MANY).format(plural(pick(rng, NOUNS))), COUNTS[len(view.things)]
    spec = pick(rng, tuple(COUNTED))
    number = rng.choices(range(len(COUNTED[spec])), COUNTED[spec])[0]
    if number == 0:
        values = absent(view, rng, spec)
    else:
        fitting = [values for values, indices in view.groups(spec).items() if len(indices) == number]
        values = pick(rng, fitting) if fitting else None
    if values is None:
        return None
    return pick(rng, HOW_MANY).format(plural(name(rng, spec, values))), COUNTS[number]


QUERIES = {
    COLOUR: ("what color is {}?", "what is the color of {}?", "which color does {} have?", "{} is what color?"),
    SHAPE: ("what shape is {}?", "what is the shape of {}?", "what is {}?", "which shape does {} have?"),
    SIZE: ("what size is {}?", "what is the size of {}?", "is {} small or large?", "how big is {}?"),
    PATTERN: (
        "what pattern is {}?",
        "what is the pattern of {}?",
        "which pattern does {} have?",
        "is {} solid, striped or dotted?",
    ),
}


def _query(attribute: int) -> Callable[[View, random.Random], Asked]:
    def ask(view: View, rng: random.Random) -> Asked:
        index = int(rng.random() * len(view.things))
        words = refer(view, rng, index, without=attribute)
        if words is None:
            return None
        return (pick(rng, QUERIES[attribute]).format(words), view.things[index].value(attribute))

    return ask


def size(view: View, rng: random.Random) -> Asked:
    """Asked only where a small and a large thing can be named without their size."""
    chosen = {}
    for index in rng.sample(range(len(view.things)), len(view.things)):
        value = view.things[index].size
        if value not in chosen:
            words = refer(view, rng, index, without=SIZE)
            if words is not None:
                chosen[value] = words
    if len(chosen) < 2:
        return None
    answer = pick(rng, SIZES)
    return pick(rng, QUERIES[SIZE]).format(chosen[answer]), answer


WHERE = ("where is {}?", "where in the picture is {}?", "in which part of the image is {}?")


def place(view: View, rng: random.Random) -> Asked:
    index = int(rng.random() * len(view.things))
    words = refer(view, rng, index, places=False)
    if words is None:
        return None
    return (pick(rng, WHERE).format(words), view.things[index].place)


def relation(view: View, rng: random.Random) -> Asked:
    """Whether, or on which side, one thing lies of another."""
    found = two_related(view, rng)
    if found is None:
        return None
    one, other, clear = found
    true = pick(rng, clear)
    if rng.random() < 0.3:
        if true in ("left", "right"):
            return f"is {one} to the left or to the right of {other}?", true
        return f"is {one} above or below {other}?", true
    answer = rng.random() < 0.5
    said = pick(rng, (RELATED, RELATED_SHORT))[true if answer else OPPOSITE[true]]
    return f"is {one} {said} {other}?", _yes(answer)


ATTRIBUTE_NAMES = {SIZE: "size", PATTERN: "pattern", COLOUR: "color", SHAPE: "shape"}


def comparison(view: View, rng: random.Random) -> Asked:
    """Numbers, sizes or attributes of two kinds or things."""
    style = rng.random()
    return (_more if style < 0.5 else _bigger if style < 0.65 else _alike)(view, rng)


def _more(view: View, rng: random.Random) -> Asked:
    spec = pick(rng, ((SHAPE,), (COLOUR,), (PATTERN,)))
    claims = tally(view, rng, spec)
    pairs = [(x, y) for x in claims for y in claims if x[0] != y[0] and x[1] + y[1]]
    form = pick(rng, ("are there more {} than {}?", "are there fewer {} than {}?", "are there as many {} as {}?"))
    if "more" in form:
        found = toss(rng, [p for p in pairs if p[0][1] > p[1][1]], [p for p in pairs if p[0][1] <= p[1][1]])
    elif "fewer" in form:
        found = toss(rng, [p for p in pairs if p[0][1] < p[1][1]], [p for p in pairs if p[0][1] >= p[1][1]])
    else:
        found = toss(rng, [p for p in pairs if p[0][1] == p[1][1]], [p for p in pairs if p[0][1] != p[1][1]])
    if found is None:
        return None
    answer, (x, y) = found
    return form.format(plural(name(rng, spec, x[0])), plural(name(rng, spec, y[0]))), _yes(answer)


def _bigger(view: View, rng: random.Random) -> Asked:
    groups = view.groups((SIZE,))
    if len(groups) < 2:
        return None
    large, small = pick(rng, groups[("large",)]), pick(rng, groups[("small",)])
    big, little = refer(view, rng, large, without=SIZE), refer(view, rng, small, without=SIZE)
    if big is None or little is None:
        return None
    word = pick(rng, ("bigger", "larger", "smaller"))
    answer = rng.random() < 0.5
    one, other = (big, little) if answer == (word != "smaller") else (little, big)
    return f"is {one} {word} than {other}?", _yes(answer)


def _alike(view: View, rng: random.Random) -> Asked:
    """Whether two things share an attribute; asked where some nameable pair does and some does not."""
    attribute = pick(rng, (SIZE, PATTERN, COLOUR, SHAPE))
    named = {}
    for index in range(len(view.things)):
        words = refer(view, rng, index, without=attribute, places=False)
        if words is not None:
            named[index] = words
    pairs = [(i, j) for i in named for j in named if i < j]
    same = [p for p in pairs if view.things[p[0]][attribute] == view.things[p[1]][attribute]]
    found = toss(rng, same, [p for p in pairs if p not in same])
    if found is None:
        return None
    answer, (i, j) = found
    if rng.random() < 0.5:
        i, j = j, i
    what = ATTRIBUTE_NAMES[attribute]
    form = pick(
        rng,
        (
            "do {} and {} have the same {}?",
            "is the {2} of {0} the same as that of {1}?",
            "are {} and {} of the same {}?",
        ),
    )
    return form.format(named[i], named[j], what), _yes(answer)


TEMPLATES: dict[str, tuple[float, Callable[[View, random.Random], Asked]]] = {
    "existence": (0.16, existence),
    "count": (0.50, count),
    "colour": (0.14, _query(COLOUR)),
    "shape": (0.14, _query(SHAPE)),
    "size": (0.12, size),
    "pattern": (0.11, _query(PATTERN)),
    "place": (0.08, place),
    "relation": (0.14, relation),
    "comparison": (0.14, comparison),
}
"""Name -> (how often it is tried, the template). A template that finds nothing to ask gives way to another draw."""

_NAMES = tuple(TEMPLATES)
_SUMS: list[float] = []
for _share, _ in TEMPLATES.values():
    _SUMS.append((_SUMS[-1] if _SUMS else 0.0) + _share)


def ask(view: View, rng: random.Random, number: int, kinds: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """`number` different questions as (template, question, answer); fewer where a scene holds no more.

    kinds: the templates to use, in equal shares; all of them, each with its own weight, if none is named.
    """
    asked: dict[str, tuple[str, str, str]] = {}
    for _ in range(8 * number + 8):
        kind = rng.choice(kinds) if kinds else rng.choices(_NAMES, cum_weights=_SUMS)[0]
        found = TEMPLATES[kind][1](view, rng)
        if found is not None and found[0] not in asked:
            asked[found[0]] = (kind, *found)
            if len(asked) == number:
                break
    return list(asked.values())
