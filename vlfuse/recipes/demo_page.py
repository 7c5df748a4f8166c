"""What the demo's page shows of its model: answers about pictures it never saw, pictures found, pairs judged,
curves."""

from collections.abc import Sequence
from pathlib import Path

import vlfuse
from vlfuse.data.drawing import draw_boxes
from vlfuse.data.images import load_image
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.scenes.world import SHAPES
from vlfuse.engine.log import LOG
from vlfuse.engine.run import Run
from vlfuse.predict import Predictor
from vlfuse.recipes.execute import MODEL
from vlfuse.report import Asked, DemoReport, Found, Judged, Pair, Plot, Retrieved, Row, read_curve
from vlfuse.types import Answer

STAGES = {"demo-pretrain": "pre-training", "demo-finetune": "fine-tuning", "demo-fine": "the fine stage"}
SHOWN_AT = 192  # pixels of the pictures on the page; the model sees the same scenes at its own size
QUESTIONS, SEARCHED, QUERIES, FOUND, PAIRS, BOXED = 6, 200, 4, 5, 4, 2


def page(runs: Sequence[Run], rows: tuple[Row, ...]) -> DemoReport:
    """The report on the models of the last two of `runs`: the one that answers, and the one that finds."""
    folder, eye_folder = (Path(run.out) / MODEL for run in runs[-2:])
    model, eye = vlfuse.load(str(folder)), vlfuse.load(str(eye_folder))
    *before, last = (f"{run.steps:,} steps of {STAGES[run.recipe]}" for run in runs)
    steps = f"{', '.join(before)} and {last}"
    parameters = sum(p.numel() for p in model.model.parameters()) / 1e6
    return DemoReport(
        title="vlfuse demo",
        summary=(
            f"A FIBER of {parameters:.1f} M parameters learnt these generated scenes from random weights in {steps}. "
            "Everything below is about pictures and texts of a split it never saw.",
            "“Chance” is the most frequent answer, or a random order; “text alone” is a reader of the same "
            "questions or statements that sees no picture.",
        ),
        rows=rows,
        asked=asked(model),
        retrieved=retrieved(model),
        pairs=pairs(model),
        found=found(eye),
        plots=plots(runs),
        commands=(
            "vlfuse demo",
            f'vlfuse predict vqa --model {folder} --image FILE --text "how many circles are there?"',
            f"vlfuse predict detect --model {eye_folder} --image FILE --text star circle --draw OUT",
        ),
    )  # fmt: skip


def asked(model: Predictor) -> tuple[Asked, ...]:
    seen, shown = _drawn(model, QUESTIONS, fields=("questions",), questions=4)
    found = []
    for small, large in zip(seen, shown, strict=True):
        answers = model.ask(small.images[0], [q.question for q in small.questions])
        judged = [_judged(q.question, a, q.answers[0]) for q, a in zip(small.questions, answers, strict=True)]
        found.append(Asked(large.images[0], tuple(judged)))
    return tuple(found)


def retrieved(model: Predictor) -> tuple[Retrieved, ...]:
    """Searched among SEARCHED pictures, all of them judged by both scores."""
    seen, shown = _drawn(model, SEARCHED, fields=("captions",), captions=1)
    queries = [sample.captions[0] for sample in seen[:QUERIES]]
    scores = model.match([sample.images[0] for sample in seen], queries, candidates=len(queries))
    best = scores.topk(FOUND, dim=0).indices.T.tolist()
    return tuple(
        Retrieved(query, tuple(shown[i].images[0] for i in order), order.index(own) if own in order else None)
        for own, (query, order) in enumerate(zip(queries, best, strict=True))
    )


def pairs(model: Predictor) -> tuple[Pair, ...]:
    seen, shown = _drawn(model, PAIRS, paired=True, statements=3)
    found = []
    for small, large in zip(seen, shown, strict=True):
        answers = model.reason(list(small.images), [s.text for s in small.statements])
        judged = [_judged(s.text, a, s.label) for s, a in zip(small.statements, answers, strict=True)]
        left, right = large.images
        found.append(Pair(left, right, tuple(judged)))
    return tuple(found)


def found(eye: Predictor) -> tuple[Found, ...]:
    """Classes (of all that there are), phrases of a caption, and one expression, each found in pictures of its own."""
    scenes = SceneDataset(
        3 * BOXED, split="test", size=SHOWN_AT, fields=("regions", "phrases", "captions", "expressions")
    )
    shown = []
    for place in range(3 * BOXED):
        sample = scenes[place]
        picture = load_image(sample.images[0])
        if place % 3 == 0:
            things = eye.detect(picture, SHAPES)
            text, boxes = "everything that has a name", [(thing.box, thing.label) for thing in things]
        elif place % 3 == 1:
            text = sample.captions[0]
            boxes = [(box, one.phrase) for one in eye.ground(picture, text) for box in one.boxes]
        elif not sample.expressions:
            continue
        else:
            text = sample.expressions[0].text
            boxes = [(eye.refer(picture, text).box, "")]
        draw_boxes(picture, boxes)
        shown.append(Found(picture, text))
    return tuple(shown)


def plots(runs: Sequence[Run]) -> tuple[Plot, ...]:
    found = []
    for run in runs:
        log, stage = Path(run.out) / LOG, run.recipe.removeprefix("demo-")
        heads = list(dict.fromkeys(head for source in run.sources for head in source.heads))
        losses = tuple(read_curve(log, f"{head}/loss", name=head) for head in heads)
        found.append(Plot(f"{stage}: losses", losses, log=True))
        rates = [(head, "score" if head == "vqa" else "accuracy") for head in heads if head != "grounding"]
        if not rates:
            continue
        found.append(Plot(f"{stage}: right in training", tuple(read_curve(log, f"{h}/{m}", name=h) for h, m in rates)))
    return tuple(found)


def _drawn(model: Predictor, number: int, **options):
    """The same scenes twice: as the model sees them, and larger for the page."""
    own, large = (SceneDataset(number, split="test", size=px, **options) for px in (model.transform.size, SHOWN_AT))
    return [own[i] for i in range(number)], [large[i] for i in range(number)]


def _judged(text: str, answer: Answer, truth: str) -> Judged:
    return Judged(text, answer.text, truth, answer.score)
