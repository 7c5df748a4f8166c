"""Statements about one picture or two: true or false, or entailed, undecided or contradicted.

As for questions, a statement is made only where it could have had another label, and the label is then drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from vlfuse.data.scenes.language import NUMBERS, RELATED, RELATED_SHORT, a, absent, figure, name, plural, refer
from vlfuse.data.scenes.questions import MENTIONED, tally, there_or_not, toss, two_related
from vlfuse.data.scenes.world import (
    COLOUR,
    OPPOSITE,
    PATTERN,
    SHAPE,
    SIZE,
    Spec,
    View,
    is_held_out,
    pick,
)

Stated = tuple[str, bool] | None
ALIKE: tuple[Spec, ...] = ((SHAPE,), (COLOUR,), (PATTERN,), (COLOUR, SHAPE))


def _label(value: bool) -> str:
    return "true" if value else "false"


def _distinct(number: int, make: Callable[[], tuple[str, str] | None]) -> list[tuple[str, str]]:
    made: dict[str, str] = {}
    for _ in range(12 * number):
        found = make()
        if found is not None:
            made.setdefault(*found)
            if len(made) == number:
                break
    return list(made.items())


# --- true or false of one picture --------------------------------------------------------------------------------


def reason(view: View, rng: random.Random, number: int) -> list[tuple[str, str]]:
    """Up to `number` statements with "true" or "false"."""

    def make() -> tuple[str, str] | None:
        found = pick(rng, _SINGLE)(view, rng)
        return found and (found[0], _label(found[1]))

    return _distinct(number, make)


PRESENT = (
    "there is {}.",
    "there is {} in the picture.",
    "the image contains {}.",
    "the picture shows {}.",
    "{} can be seen.",
)


def _present(view: View, rng: random.Random) -> Stated:
    spec = pick(rng, MENTIONED)
    found = there_or_not(view, rng, spec)
    if found is None:
        return None
    there, words = found
    if rng.random() < 0.2:
        return f"there is no {words}." if rng.random() < 0.5 else f"there are no {plural(words)}.", not there
    return pick(rng, PRESENT).format(a(words)), there


BOUNDS: dict[str, Callable[[int, int], bool]] = {
    "exactly": lambda count, number: count == number,
    "at least": lambda count, number: count >= number,
    "at most": lambda count, number: count <= number,
    "more than": lambda count, number: count > number,
}


def bounded(rng: random.Random, bound: str, number: int, words: str) -> str:
    """ "there are exactly two red circles." """
    said = figure(rng, number, 0.2)
    verb, noun = ("is", words) if number == 1 else ("are", plural(words))
    return f"there {verb} {bound} {said} {noun}."


def _counted(view: View, rng: random.Random) -> Stated:
    spec, bound = pick(rng, ALIKE), pick(rng, tuple(BOUNDS))
    number = 1 + int(rng.random() * 3)
    holds = BOUNDS[bound]
    claims = tally(view, rng, spec)
    found = toss(rng, [c for c in claims if holds(c[1], number)], [c for c in claims if not holds(c[1], number)])
    return found and (bounded(rng, bound, number, name(rng, spec, found[1][0])), found[0])


def _every(view: View, rng: random.Random) -> Stated:
    """ "all circles are red": said of kinds with two members or more."""
    subject, attribute = pick(
        rng, ((SHAPE, COLOUR), (SHAPE, PATTERN), (COLOUR, SHAPE), (COLOUR, PATTERN), (PATTERN, COLOUR))
    )
    true, false = [], []
    for values, indices in view.groups((subject,)).items():
        if len(indices) > 1:
            held = {view.things[k][attribute] for k in indices}
            if len(held) == 1:
                true.append((values, next(iter(held))))
            others = {thing[attribute] for thing in view.things} if len(held) == 1 else held
            false += [(values, other) for other in sorted(others) if len(held) > 1 or other not in held]
    false = [f for f in false if view.novel or not _odd(subject, attribute, f)]
    found = toss(rng, true, false)
    return found and (every(rng, subject, attribute, *found[1]), found[0])


def _odd(subject: int, attribute: int, claim: tuple[tuple[str, ...], str]) -> bool:
    """Whether a claim would mention a combination that only the split "novel" may."""
    values = {subject: claim[0][0], attribute: claim[1]}
    return is_held_out(tuple(sorted(values)), tuple(values[k] for k in sorted(values)))


def every(rng: random.Random, subject: int, attribute: int, values: tuple[str, ...], held: str) -> str:
    words = name(rng, (subject,), values)
    is_, are = (f"a {held}", plural(held)) if attribute == SHAPE else (held, held)
    return f"every {words} is {is_}." if rng.random() < 0.5 else f"all {plural(words)} are {are}."


def _related(view: View, rng: random.Random) -> Stated:
    found = two_related(view, rng)
    if found is None:
        return None
    one, other, clear = found
    true, label = pick(rng, clear), rng.random() < 0.5
    return f"{one} is {pick(rng, (RELATED, RELATED_SHORT))[true if label else OPPOSITE[true]]} {other}.", label


def _more(view: View, rng: random.Random) -> Stated:
    spec = pick(rng, ALIKE[:3])
    claims = tally(view, rng, spec)
    pairs = [(x, y) for x in claims for y in claims if x[0] != y[0] and x[1] + y[1]]
    form, holds = pick(rng, _COMPARED)
    found = toss(rng, [p for p in pairs if holds(p[0][1], p[1][1])], [p for p in pairs if not holds(p[0][1], p[1][1])])
    if found is None:
        return None
    label, (x, y) = found
    return form.format(plural(name(rng, spec, x[0])), plural(name(rng, spec, y[0]))), label


_COMPARED: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("there are more {} than {}.", lambda x, y: x > y),
    ("there are fewer {} than {}.", lambda x, y: x < y),
    ("there are as many {} as {}.", lambda x, y: x == y),
)


def _attribute(view: View, rng: random.Random) -> Stated:
    """ "the circle at the top is red": false with the attribute of another thing."""
    index = int(rng.random() * len(view.things))
    attribute = pick(rng, (PATTERN, COLOUR, SHAPE))
    words = refer(view, rng, index, without=attribute)
    true = view.things[index].value(attribute)
    others = [value for value in (t.value(attribute) for t in view.things) if value != true]
    if words is None or not others:
        return None
    label = rng.random() < 0.5
    said = true if label else pick(rng, others)
    return f"{words} is {a(said) if attribute == SHAPE else said}.", label


_SINGLE = (_present, _present, _counted, _counted, _every, _related, _more, _attribute)


# --- true or false of a pair ---------------------------------------------------------------------------------------

PICTURE = ("picture", "image")
PAIR_FORMS: tuple[tuple[tuple[str, ...], Callable[[int, int], bool]], ...] = (
    (("the left {p} contains {x}.", "there is {x} in the left {p}."), lambda left, right: left > 0),
    (("the right {p} contains {x}.", "there is {x} in the right {p}."), lambda left, right: right > 0),
    (("both {p}s contain {x}.", "there is {x} in each {p}.", "each of the two {p}s shows {x}."), lambda left, right: left > 0 and right > 0),
    (("at least one {p} contains {x}.", "there is {x} in either {p}."), lambda left, right: left + right > 0),
    (("neither {p} contains {x}.", "there is not {x} in either of the {p}s."), lambda left, right: left + right == 0),
    (("exactly one {p} contains {x}.", "only one of the {p}s shows {x}."), lambda left, right: (left > 0) != (right > 0)),
    (("the left {p} has more {xs} than the right {p}.", "there are more {xs} on the left {p} than on the right one."), lambda left, right: left > right),
    (("the right {p} has more {xs} than the left {p}.", "there are fewer {xs} in the left {p} than in the right one."), lambda left, right: right > left),
    (("both {p}s have the same number of {xs}.", "there are as many {xs} in the left {p} as in the right one."), lambda left, right: left == right),
)  # fmt: skip
PAIR_COUNTS: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    ("there are {b} {n} {xs} in the left {p}.", lambda left, right: left),
    ("there are {b} {n} {xs} in the right {p}.", lambda left, right: right),
    ("there are {b} {n} {xs} in the two {p}s together.", lambda left, right: left + right),
    ("the two {p}s have {b} {n} {xs} in total.", lambda left, right: left + right),
)


def reason_pair(left: View, right: View, rng: random.Random, number: int) -> list[tuple[str, str]]:
    """Up to `number` statements about a left and a right picture, with "true" or "false"."""

    def make() -> tuple[str, str] | None:
        found = (_pair_count if rng.random() < 0.3 else _pair_claim)(left, right, rng)
        return found and (found[0], _label(found[1]))

    return _distinct(number, make)


def _pair_tally(left: View, right: View, rng: random.Random, spec: Spec) -> list[tuple[tuple[str, ...], int, int]]:
    """What could be mentioned with its numbers in both pictures."""
    here, there = left.groups(spec), right.groups(spec)
    found = [(values, len(here.get(values, ())), len(there.get(values, ()))) for values in {**here, **there}]
    values = absent(left, rng, spec)
    if values is not None and values not in there:
        found.append((values, 0, 0))
    return found


def _pair_claim(left: View, right: View, rng: random.Random) -> Stated:
    forms, holds = pick(rng, PAIR_FORMS)
    spec = pick(rng, MENTIONED)
    claims = _pair_tally(left, right, rng, spec)
    found = toss(rng, [c for c in claims if holds(c[1], c[2])], [c for c in claims if not holds(c[1], c[2])])
    if found is None:
        return None
    words = name(rng, spec, found[1][0])
    return pick(rng, forms).format(p=pick(rng, PICTURE), x=a(words), xs=plural(words)), found[0]


def _pair_count(left: View, right: View, rng: random.Random) -> Stated:
    form, total = pick(rng, PAIR_COUNTS)
    bound, number, spec = pick(rng, tuple(BOUNDS)), 2 + int(rng.random() * 3), pick(rng, ALIKE)
    holds = BOUNDS[bound]
    claims = _pair_tally(left, right, rng, spec)
    found = toss(
        rng,
        [c for c in claims if holds(total(c[1], c[2]), number)],
        [c for c in claims if not holds(total(c[1], c[2]), number)],
    )
    if found is None:
        return None
    words = plural(name(rng, spec, found[1][0]))
    return form.format(b=bound, n=NUMBERS[number], xs=words, p=pick(rng, PICTURE)), found[0]


# --- entailment ------------------------------------------------------------------------------------------------------


def entailment(view: View, rng: random.Random, number: int) -> list[tuple[str, str]]:
    """Up to `number` statements with "entailment", "neutral" or "contradiction".

    Behind a curtain there may be anything: more of a thing cannot be ruled out. So a claim that more things could only
    make truer is entailed or undecided there, and one that more things could only make falser contradicted or
    undecided; in full view each is entailed or contradicted. Half of the pictures have a curtain, and the decided
    label is drawn half as often as the other where it can occur in both, which makes all three as likely for any words.
    """
    hidden = view.scene.curtain is not None

    def make() -> tuple[str, str] | None:
        rising, claims, text = pick(rng, _HIDING)(view, rng)
        shared = claims[0] if rising else claims[1]  # decided with a curtain or without
        other = claims[1] if rising else claims[0]
        if not shared or not other:
            return None
        if rng.random() < 1 / 3:
            return text(pick(rng, shared)), "entailment" if rising else "contradiction"
        return text(pick(rng, other)), "neutral" if hidden else "contradiction" if rising else "entailment"

    return _distinct(number, make)


def _hiding_presence(view: View, rng: random.Random):
    spec, rising = pick(rng, MENTIONED), rng.random() < 0.6
    claims = tally(view, rng, spec)
    there, gone = [c[0] for c in claims if c[1]], [c[0] for c in claims if not c[1]]
    if rising:
        return True, (there, gone), lambda values: pick(rng, PRESENT).format(a(name(rng, spec, values)))
    return False, (gone, there), lambda values: f"there is no {name(rng, spec, values)}."


def _hiding_count(view: View, rng: random.Random):
    spec, bound = pick(rng, ALIKE), pick(rng, ("at least", "at most", "more than"))
    number, holds = 1 + int(rng.random() * 2), BOUNDS[bound]
    claims = tally(view, rng, spec)
    split = ([c[0] for c in claims if holds(c[1], number)], [c[0] for c in claims if not holds(c[1], number)])
    return bound != "at most", split, lambda values: bounded(rng, bound, number, name(rng, spec, values))


def _hiding_every(view: View, rng: random.Random):
    subject, attribute = pick(
        rng, ((SHAPE, COLOUR), (SHAPE, PATTERN), (COLOUR, SHAPE), (COLOUR, PATTERN), (SIZE, COLOUR))
    )
    true, false = [], []
    for values, indices in view.groups((subject,)).items():
        held = sorted({view.things[k][attribute] for k in indices})
        others = sorted({thing[attribute] for thing in view.things} - set(held))
        true += [(values, held[0])] if len(held) == 1 else []
        false += [(values, value) for value in (others if len(held) == 1 else held)]
    false = [f for f in false if view.novel or not _odd(subject, attribute, f)]
    return False, (true, false), lambda claim: every(rng, subject, attribute, *claim)


_HIDING = (_hiding_presence, _hiding_presence, _hiding_count, _hiding_every)
