"""A slow, separate reader of what is said of trays: it parses a statement and works out its truth from the things alone.

It shares no code with the generator; what it cannot parse, finds badly worded or too close to call is an error.
A bare number is exact and "a" is one or more, as is "one box has"; "over", "above", "below" and "under" are said of
neighbours in a tower.
"""

import re
from itertools import pairwise

COLOURS = ("black", "blue", "yellow")
SHAPES = ("circle", "square", "triangle")
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven")
NUMBERS = {word: n for n, word in enumerate(WORDS) if n} | {str(n): n for n in range(1, 8)}
ORDINALS = {"second": 1, "third": 2, "fourth": 3}
TRAY = r"(?:box|boxes|grey squares?|towers?)"
NUMBER = rf"(?:{'|'.join(NUMBERS)})"
AMOUNT = rf"(?:an?|(?:(?:exactly|only|at least|more than) )?{NUMBER})"
NOUN = r"(?:(?:black|blue|yellow) )?(?:circle|square|triangle|item|object|block)s?"
COLOUR = rf"(?:{'|'.join(COLOURS)})"
PLURAL = r"(?:items|objects|blocks)"
WALLS = {
    "edge": {"the edge", "the wall", "an edge", "the side"},
    "bottom": {"the base", "the bottom", "the bottom of a box"},
    "top": {"the top", "the top edge"},
    "right": {"the right wall", "the right edge", "the right side"},
    "left": {"the left wall", "the left edge", "the left side"},
    "corner": {"a corner", "the corner", "a corner of a box"},
}
TOUCHING = r"(?:closely )?touching"
CLOSE, CLEAR = 1e-6, 1 / 64  # of a tray: what is nearer to an edge touches it, what is farther does not, by eye


def touches(thing, wall):
    """Whether a thing touches a wall named as in WALLS; it must be clear."""
    distances = {
        "left": thing.x - thing.width / 2,
        "right": 1 - thing.x - thing.width / 2,
        "top": thing.y - thing.height / 2,
        "bottom": 1 - thing.y - thing.height / 2,
    }
    assert all(abs(d) < CLOSE or d > CLEAR for d in distances.values()), f"too close to call: {thing}"
    near = {name for name, distance in distances.items() if distance < CLOSE}
    if wall == "edge":
        return bool(near)
    if wall == "corner":
        return bool(near & {"left", "right"}) and bool(near & {"top", "bottom"})
    return wall in near


def wall_of(words):
    return next(wall for wall, names in WALLS.items() if words in names)


def single(words, plural):
    """A noun phrase without its ending, which must be that of its number."""
    one = {"boxes": "box"}.get(words, words.removesuffix("s"))
    assert (words != one) == plural, f"{words!r} has the wrong number"
    return one


def amount(words, noun):
    """What an amount says of a count, and whether it is plural; its article and noun must agree with it."""
    *bound, figure = words.split()
    if figure in ("a", "an"):
        assert not bound and (figure == "an") == (noun[0] in "aeiou"), f"{words} {noun}"
        single(noun, False)
        return (lambda count: count >= 1), False
    number, how = NUMBERS[figure], " ".join(bound)
    single(noun, number > 1)
    holds = {
        "": lambda count: count == number,
        "exactly": lambda count: count == number,
        "only": lambda count: count == number,
        "at least": lambda count: count >= number,
        "more than": lambda count: count > number,
    }
    return holds[how], number > 1


def fits(thing, noun):
    """Whether a bare noun phrase such as "yellow item", "triangle" or "blocks" fits a thing."""
    *colour, kind = noun.split()
    kind = kind.removesuffix("s")
    assert kind in (*SHAPES, "item", "object", "block") and len(colour) <= 1, noun
    return (not colour or thing.colour == colour[0]) and (kind not in SHAPES or thing.shape == kind)


class Reader:
    """Reads statements about one picture; `used` holds the names of the rules that were."""

    def __init__(self, trays):
        self.trays, self.used = trays, set()
        self.things = [thing for tray in trays for thing in tray]

    def truth(self, text):
        text = text.removesuffix(".")
        assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", text), f"badly set: {text!r}"
        return self._first(STATEMENTS, text, self)

    def has(self, tray, clause):
        """Whether a tray has what is said behind "with"."""
        for pattern, rule in HUES:
            if found := re.fullmatch(pattern, clause):
                self.used.add(pattern)
                return rule({thing.colour for thing in tray}, *found.groups())
        parts = re.split(r" (?:and|having|with) ", clause)
        return all([self._first(CLAUSES, part, tray) for part in parts])  # every part is read, true or not

    def number(self, clause):
        return sum([self.has(tray, clause) for tray in self.trays])

    def _first(self, rules, text, what):
        for pattern, rule in rules:
            if found := re.fullmatch(pattern, text):
                self.used.add(pattern)
                return rule(what, *found.groups())
        raise AssertionError(f"cannot parse {text!r}")


HUES = [
    (rf"only ({COLOUR}) {PLURAL}", lambda hues, one: hues == {one}),
    (rf"{PLURAL} of only ({COLOUR}) color", lambda hues, one: hues == {one}),
    (rf"all {PLURAL} ({COLOUR})", lambda hues, one: hues == {one}),
    (rf"only ({COLOUR}) and ({COLOUR}) {PLURAL}", lambda hues, one, two: one != two and hues == {one, two}),
    (rf"{PLURAL} of only ({COLOUR}) and ({COLOUR}) color", lambda hues, one, two: one != two and hues == {one, two}),
    (rf"{PLURAL} of all (?:three|3 different) colors", lambda hues: len(hues) == 3),
    (rf"{PLURAL} of (?:exactly two|2 different) colors", lambda hues: len(hues) == 2),
    (rf"all {PLURAL} of the same color", lambda hues: len(hues) == 1),
    (rf"{PLURAL} of one color only", lambda hues: len(hues) == 1),
    (rf"no ({COLOUR}) {PLURAL}", lambda hues, one: one not in hues),
]


def _upwards(tray):
    return sorted(tray, key=lambda thing: -thing.y)


def _count(things, words, noun):
    return amount(words, noun)[0](sum(fits(thing, noun) for thing in things))


def _count_at(things, words, noun, wall):
    return amount(words, noun)[0](sum(fits(thing, noun) and touches(thing, wall_of(wall)) for thing in things))


def _nth(tray, colour, nth, end):
    tower = _upwards(tray) if end == "base" else _upwards(tray)[::-1]
    return len(tower) > ORDINALS[nth] and tower[ORDINALS[nth]].colour == colour


def _end(tray, colour, end):
    return _upwards(tray)[-1 if end == "top" else 0].colour == colour


def _stacked(tray, one, how, two):
    upper, lower = (two, one) if how in ("below", "under") else (one, two)
    return any(low.colour == lower and high.colour == upper for low, high in pairwise(_upwards(tray)))


STACKED = rf"a ({COLOUR}) block (over|above|on|on top of|below|under) a ({COLOUR}) block"
CLAUSES = [
    (rf"({AMOUNT}) ({NOUN})", _count),
    (rf"({AMOUNT}) ({NOUN}) {TOUCHING} (.+)", _count_at),
    (rf"a ({COLOUR}) block (?:at|on|as)(?: the)? (top)", _end),
    (rf"a ({COLOUR}) block (?:at|as) the (base|bottom)", _end),
    (rf"a ({COLOUR}) block as the (second|third|fourth) from the (base|top)", _nth),
    (STACKED, _stacked),
]


def _quantity(reader, verb, words, noun, said, clause):
    holds, plural = amount(words, noun)
    assert (verb == "are") == plural and said in ("with", "containing", "that have" if plural else "that has")
    return holds(reader.number(clause))


def _there(reader, verb, words, noun):
    assert (verb == "are") == amount(words, noun)[1]
    return _count(reader.things, words, noun)


def _there_at(reader, verb, words, noun, wall):
    assert (verb == "are") == amount(words, noun)[1]
    return _count_at(reader.things, words, noun, wall)


def _there_free(reader, verb, words, noun):
    holds, plural = amount(words, noun)
    assert (verb == "are") == plural
    return holds(sum(fits(thing, noun) and not touches(thing, "edge") for thing in reader.things))


def _none_at(reader, noun, wall):
    single(noun, False)
    return not any(fits(thing, noun) and touches(thing, wall_of(wall)) for thing in reader.things)


def _all_at(reader, noun, wall):
    single(noun, True)
    found = [touches(thing, wall_of(wall)) for thing in reader.things if fits(thing, noun)]
    return bool(found) and all(found)


def _all_of(reader, noun, colour):
    single(noun, True)
    return {thing.colour for thing in reader.things if fits(thing, noun)} == {colour}


def _of(reader, number, noun, verb, clause):
    single(noun, True)
    return _have(reader, number, verb, clause)


def _bare(reader, number, noun, verb, clause):
    single(noun, number != "one")
    return _have(reader, number, verb, clause)


def _have(reader, number, verb, clause):
    assert (verb == "has") == (number == "one")
    return reader.number(clause) >= 1 if number == "one" else reader.number(clause) == 2


def _every(reader, word, noun, verb, clause):
    single(noun, word == "all")
    assert (verb == "have") == (word == "all")
    return reader.number(clause) == len(reader.trays)


def _no_tray(reader, noun, clause):
    single(noun, False)
    return reader.number(clause) == 0


def _none_of(reader, noun, clause):
    single(noun, True)
    return reader.number(clause) == 0


def _more(reader, first, second):
    assert single(first, True) != single(second, True)
    counts = [sum(fits(thing, noun) for thing in reader.things) for noun in (first, second)]
    return counts[0] > counts[1]


def _end_of(reader, colour, end, clause=None):
    """ "as the base of a tower with ...": of one and the same tower."""
    return any([_end(tray, colour, end) and (clause is None or reader.has(tray, clause)) for tray in reader.trays])


def _the_tower(reader, words, noun, clause):
    """The towers that "the tower with two blocks" may be must agree."""
    truths = {reader.has(t, clause) for t in reader.trays if amount(words, noun)[0](len(t))}
    assert len(truths) < 2, "which tower?"
    return truths == {True}


def _alike(reader, words, noun):
    single(noun, True)
    heights = [len(tray) for tray in reader.trays]
    return amount(words, noun)[0](max(heights.count(height) for height in heights))


STATEMENTS = [
    (rf"there (is|are) ({AMOUNT}) ({TRAY}) (with|that has|that have|containing) (?!the same)(.+)", _quantity),
    (rf"there is no ({TRAY}) with (.+)", _no_tray),
    (rf"none of the ({TRAY}) has (.+)", _none_of),
    (rf"(one|two) of the ({TRAY}) (has|have) (.+)", _of),
    (rf"(one|two) ({TRAY}) (has|have) (.+)", _bare),
    (rf"(each|every|all) ({TRAY}) (has|have) (.+)", _every),
    (rf"the tower with ({NUMBER}) (blocks?) has (.+)", _the_tower),
    (rf"there are ({AMOUNT}) (towers) (?:of|with) the same (?:height|number of blocks)", _alike),
    (rf"there are more ({NOUN}) than ({NOUN})", _more),
    (rf"there is a ({COLOUR}) block as the (top|base|bottom) of a tower", _end_of),
    (rf"there is a ({COLOUR}) block as the (top|base|bottom) of a tower with (.+)", _end_of),
    (rf"there is {STACKED}", lambda reader, *said: any(_stacked(tray, *said) for tray in reader.trays)),
    (
        rf"there is no {STACKED[2:]}",
        lambda reader, *said: not any(_stacked(tray, *said) for tray in reader.trays),
    ),
    (rf"there (is|are) ({AMOUNT}) ({NOUN})", _there),
    (rf"there (is|are) ({AMOUNT}) ({NOUN}) not touching (?:any edge|the edge|the wall)", _there_free),
    (rf"there (is|are) ({AMOUNT}) ({NOUN}) {TOUCHING} (.+)", _there_at),
    (rf"there is no ({NOUN}) {TOUCHING} (.+)", _none_at),
    (rf"all ({NOUN}) are touching (.+)", _all_at),
    (rf"all ({NOUN}) are ({COLOUR})", _all_of),
]
RULES = {pattern for rules in (HUES, CLAUSES, STATEMENTS) for pattern, _ in rules}
