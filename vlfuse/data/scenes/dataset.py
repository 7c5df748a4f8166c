"""Generated scenes as a map-style dataset: sample i of (seed, split) is always the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from vlfuse.data.scenes.draw import box_of, draw_scene
from vlfuse.data.scenes.language import dense_caption, expressions, join, light_caption
from vlfuse.data.scenes.questions import TEMPLATES, ask
from vlfuse.data.scenes.stated import stated, things_named, trays_named
from vlfuse.data.scenes.statements import entailment, reason, reason_pair
from vlfuse.data.scenes.trays import Trays, boxes_of, draw_trays, tray_boxes
from vlfuse.data.scenes.world import MOST_THINGS, SPLITS, Scene, View, sample_scene, sample_theme
from vlfuse.types import ConfigError, Expression, Phrase, Question, Region, Sample, Statement

FIELDS = frozenset(("captions", "phrases", "regions", "expressions", "questions", "statements"))
POSSIBLE = {
    "single": FIELDS,
    "paired": frozenset(("statements",)),
    "entailment": frozenset(("statements", "regions")),  # behind a curtain, a count or a denial could be wrong
    "trays": frozenset(("statements", "regions")),
}
PARTS = ("things", "trays", "either")
WHOLE = 0.7  # share of "either" whose regions are the trays
MOST_STATED = 8  # statements that trays can be drawn for at once in good time
SMALLEST = 64  # pixels; below, the patterns of small things blur


class SceneDataset:
    """`n` generated samples with [size, size, 3] uint8 pictures, made when asked for.

    size: pixels of a side; of several, each sample has one by chance.
    split: train, val, test or novel; no set of things of one is ever in another, and "novel" alone shows the held-out
        combinations of colour and shape.
    paired: two pictures a sample and true/false statements about the pair, nothing else.
    entailment: statements are entailment, neutral or contradiction, and half of the pictures have a curtain that may
        hide things; beside them there are only regions. Without it, statements are true or false of a picture in full view.
    trays: three trays with loose things or towers of blocks, as in NLVR (Suhr et al. 2017), in pictures [size, 4 size, 3],
        with statements worded as people word them there, true or false, and regions. There is no split "novel".
    parts: of trays, which regions there are: the "things", the "trays" with clauses that are true of them, or "either".
    questions, captions, statements: how many of each a sample has. captions[0], and every other one, is dense: it
        names each thing with all its attributes and its place.
    things: most things in a picture, 2 to 6; few make a first lesson.
    kinds: of questions (names of TEMPLATES), in equal shares; all, if none is named.
    fields: which fields of Sample to make (all that apply, if None). What is left out costs no time and changes
        nothing else.

    Raises ConfigError for values that cannot be served.
    """

    def __init__(
        self,
        n: int,
        seed: int = 0,
        split: str = "train",
        size: int | Sequence[int] = 96,
        paired: bool = False,
        entailment: bool = False,
        trays: bool = False,
        questions: int = 6,
        captions: int = 2,
        statements: int = 2,
        things: int = MOST_THINGS,
        kinds: Iterable[str] = (),
        parts: str = PARTS[0],
        fields: Iterable[str] | None = None,
    ):
        kinds_asked = [kind for kind, on in (("paired", paired), ("entailment", entailment), ("trays", trays)) if on]
        if len(kinds_asked) > 1:
            raise ConfigError(f"{' and '.join(kinds_asked)} are both set; they are different kinds of scenes: set one")
        self.kind = kinds_asked[0] if kinds_asked else "single"
        possible = POSSIBLE[self.kind]
        wanted = possible if fields is None else frozenset(fields)
        if split not in SPLITS:
            raise ConfigError(f"split is {split!r}; scenes have the splits {', '.join(SPLITS)}")
        if not 2 <= things <= MOST_THINGS:
            raise ConfigError(f"things is {things}; a scene holds 2 to {MOST_THINGS}")
        sizes = (size,) if isinstance(size, int) else tuple(size)
        if not sizes or min(sizes) < SMALLEST:
            raise ConfigError(f"size is {size}; scenes need at least {SMALLEST} pixels a side to show their patterns")
        if not wanted <= possible:
            raise ConfigError(
                f"fields holds {sorted(wanted - possible)}; scenes of this kind ({self.kind}) have {sorted(possible)}"
            )
        if trays and statements > MOST_STATED:
            raise ConfigError(
                f"statements is {statements}; of trays, at most {MOST_STATED} can be made true or false at once"
            )
        if trays and split == "novel":
            raise ConfigError("split is 'novel', which trays do not have; they have train, val and test")
        self.n, self.seed, self.split, self.sizes = n, seed, split, sizes
        self.fields = wanted
        self.questions, self.captions, self.statements = questions, captions, statements
        self.things, self.kinds, self.parts = things, tuple(kinds), parts
        if parts not in PARTS or (parts != PARTS[0] and not trays):
            raise ConfigError(
                f"parts is {parts!r}; the regions of trays are one of {', '.join(PARTS)}, and others have none"
            )
        if not set(self.kinds) <= TEMPLATES.keys():
            raise ConfigError(f"kinds is {'+'.join(self.kinds)}; questions are of the kinds {', '.join(TEMPLATES)}")

    def __len__(self) -> int:
        return self.n

    def scenes(self, i: int) -> tuple[Scene, ...]:
        """The one or two scenes of sample i."""
        if not 0 <= i < self.n:
            raise IndexError(f"sample {i} of {self.n}")
        rng = self._rng(i, "scene")
        theme = sample_theme(rng)
        if self.kind != "paired":
            return (
                sample_scene(
                    rng, self.split, theme, curtain=self.kind == "entailment" and rng.random() < 0.5, most=self.things
                ),
            )
        other = theme if rng.random() < 0.6 else None  # pictures alike make the statement turn on details
        return (
            sample_scene(rng, self.split, theme, most=self.things),
            sample_scene(rng, self.split, other, most=self.things),
        )

    def __getitem__(self, i: int) -> Sample:
        return self._tray_sample(i) if self.kind == "trays" else self._scene_sample(i)

    def trays(self, i: int) -> tuple[Trays, list[tuple[str, str]]]:
        """The trays of sample i and what is said of them, with "true" or "false"."""
        if not 0 <= i < self.n:
            raise IndexError(f"sample {i} of {self.n}")
        return stated(self._rng(i, "trays"), self.split, self.statements)

    def _tray_sample(self, i: int) -> Sample:
        made, said = self.trays(i)
        size = self._size(i)
        parts: dict = {}
        if "statements" in self.fields:
            parts["statements"] = tuple([Statement(text, label) for text, label in said])
        if "regions" in self.fields:
            share = {"things": 0.0, "trays": 1.0, "either": WHOLE}[self.parts]
            whole = self._rng(i, "parts").random() < share
            named = trays_named(made, self._rng(i, "clauses")) if whole else things_named(made)
            boxes = tray_boxes(size) if whole else boxes_of(made, size)
            parts["regions"] = tuple([Region(box, *words) for box, words in zip(boxes, named, strict=True)])
        return Sample(
            id=f"trays-{self.split}-{self.seed}-{i}", images=(draw_trays(made, size),), split=self.split, **parts
        )

    def _scene_sample(self, i: int) -> Sample:
        scenes = self.scenes(i)
        size = self._size(i)
        images = tuple([draw_scene(scene, size) for scene in scenes])
        views = [View(scene, self.split == "novel") for scene in scenes]
        parts = self._statements(i, views) if self.kind == "paired" else self._texts(i, views[0], size)
        return Sample(id=f"{self.split}-{self.seed}-{i}", images=images, split=self.split, **parts)

    def _rng(self, i: int, part: str) -> random.Random:
        """Each part of a sample draws from its own stream, so that leaving one out changes no other."""
        kind = "pair" if self.kind == "paired" else self.kind
        return random.Random(f"{kind} {self.seed} {self.split} {i} {part}")

    def _size(self, i: int) -> int:
        return self.sizes[0] if len(self.sizes) == 1 else self._rng(i, "size").choice(self.sizes)

    def _texts(self, i: int, view: View, size: int) -> dict:
        wanted, parts = self.fields, {}
        boxes = [box_of(thing, size) for thing in view.things] if wanted & {"phrases", "regions", "expressions"} else []
        if wanted & {"captions", "phrases"}:
            rng = self._rng(i, "captions")
            joined = [join((light_caption if k % 2 else dense_caption)(view, rng)) for k in range(self.captions)]
            if "captions" in wanted:
                parts["captions"] = tuple([text for text, _ in joined])
            if "phrases" in wanted:
                parts["phrases"] = tuple(
                    Phrase(k, span, tuple(boxes[index] for index in indices))
                    for k, (_, spans) in enumerate(joined)
                    for span, indices in spans
                )
        if "regions" in wanted:
            parts["regions"] = tuple(
                Region(box, t.shape, (t.size, t.pattern, t.colour)) for box, t in zip(boxes, view.things, strict=True)
            )
        if "expressions" in wanted:
            found = expressions(view, self._rng(i, "expressions"), 3)
            parts["expressions"] = tuple(Expression(text, boxes[index]) for text, index in found)
        if "questions" in wanted:
            asked = ask(view, self._rng(i, "questions"), self.questions, self.kinds)
            parts["questions"] = tuple(
                [Question(text, (answer,), f"{i}.{k}.{kind}") for k, (kind, text, answer) in enumerate(asked)]
            )
        if "statements" in wanted:
            parts.update(self._statements(i, [view]))
        return parts

    def _statements(self, i: int, views: list[View]) -> dict:
        if "statements" not in self.fields:
            return {}
        rng = self._rng(i, "statements")
        if self.kind == "paired":
            made = reason_pair(views[0], views[1], rng, self.statements)
        elif self.kind == "entailment":
            made = entailment(views[0], rng, self.statements)
        else:
            made = reason(views[0], rng, self.statements)
        return {"statements": tuple([Statement(text, label) for text, label in made])}
