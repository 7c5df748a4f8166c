"""Evaluation of tasks over a whole data set; with several processes the counts are exact, no sample is seen twice."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from vlfuse.engine import evaluate_regions
from vlfuse.engine.distributed import World, gathered
from vlfuse.engine.step import Loader
from vlfuse.metrics.accuracy import accuracy, group_means, majority
from vlfuse.metrics.caption import caption_metrics
from vlfuse.metrics.meteor import meteor_where_installed
from vlfuse.metrics.nlvr2 import nlvr2_metrics
from vlfuse.metrics.retrieval import fold_mean, guessing, retrieval_metrics
from vlfuse.metrics.vqa import normalise, vqa_scores
from vlfuse.systems.base import Model, texts_of
from vlfuse.tasks.retrieval import Gallery, encode_gallery, two_stage
from vlfuse.types import Batch, TaskError

NLVR2_PAIR = re.compile(r"(dev|test1|test2)-\d+-\d+(-\d+)?")  # the name of a pair in its published evaluation sets
CANDIDATES = 32  # of each query, re-ranked by fusion


@dataclass(frozen=True)
class Judged:
    """One text of a data set and what the model made of it. record: the Question or Statement; sample:
    id of its sample."""

    record: Any
    sample: str
    answer: str
    score: float


@dataclass(frozen=True)
class Task:
    """How a task is scored. reads: the texts it needs (detection makes its own). scores: of a model on a loader; those
    of regions also take `tokenizer` and `max_text`, and detection `names`, see `vlfuse.engine.evaluate_regions`.
    shared: each process takes its part of the batches (else all of them)."""

    reads: Literal["captions", "questions", "statements", "phrases", "expressions"]
    scores: Callable[..., dict[str, float]]
    shared: bool = True


@torch.no_grad()
def judge(model: Model, loader: Loader, world: World, head: str) -> list[Judged]:
    """The model's answer to every text that `head` reads, from all processes."""
    reads = model.head(head).reads
    judged = []
    for batch in loader.iterate():
        texts = getattr(batch, reads)
        if texts is not None:
            answers = model.decode(batch.to(world.device), head)
            rows = zip(texts.records, _samples(batch, reads), answers, strict=True)
            judged += [Judged(record, sample, answer.text, answer.score) for record, sample, answer in rows]
    return gathered(judged, world)


def vqa(model: Model, loader: Loader, world: World) -> dict[str, float]:
    """{"accuracy": VQA accuracy, "majority": accuracy of the most frequent answer, "count", "accuracy_<kind>"}.

    Questions without answers are left out. Kinds are told where question ids end in ".<kind>", as those of scenes do.
    """
    judged = [row for row in judge(model, loader, world, "vqa") if row.record.answers]
    _require(judged, "questions with answers")
    scores = vqa_scores([row.answer for row in judged], [row.record.answers for row in judged])
    constant = Counter(normalise(answer) for row in judged for answer in row.record.answers).most_common(1)[0][0]
    always = vqa_scores([constant] * len(judged), [row.record.answers for row in judged])
    found = {"accuracy": _mean(scores), "majority": _mean(always), "count": float(len(judged))}
    kinds = [row.record.id.rpartition(".")[2] for row in judged]
    if all(kind.isalpha() for kind in kinds):
        found |= {f"accuracy_{kind}": mean for kind, mean in sorted(group_means(scores, kinds).items())}
    return found


def statements(head: str) -> Callable[[Model, Loader, World], dict[str, float]]:
    def scores(model: Model, loader: Loader, world: World) -> dict[str, float]:
        """{"accuracy", "majority", "count"}, and "consistency" where sample ids are NLVR2's.
        Unlabelled statements are left out."""
        judged = [row for row in judge(model, loader, world, head) if row.record.label]
        _require(judged, "statements with labels")
        answers, labels = [row.answer for row in judged], [row.record.label for row in judged]
        found = {"accuracy": accuracy(answers, labels), "majority": majority(labels), "count": float(len(judged))}
        if all(NLVR2_PAIR.fullmatch(row.sample) for row in judged):
            found["consistency"] = nlvr2_metrics(identifiers(judged), answers, labels)["consistency"]
        return found

    return scores


def identifiers(judged: Sequence[Judged]) -> list[str]:
    """NLVR2's `split-set-pair-sentence` of statements whose samples are named `split-set-pair`: a set's sentences are
    told apart by their words, as one sentence comes with several of its pairs."""
    sentences: dict[tuple[str, str], int] = {}
    found = []
    for row in judged:
        split, number, pair = row.sample.split("-")[:3]
        sentence = sentences.setdefault((f"{split}-{number}", row.record.text), len(sentences))
        found.append(f"{split}-{number}-{pair}-{sentence}")
    return found


def retrieval(
    model: Model, loader: Loader, world: World, candidates: int = CANDIDATES, folds: int = 1
) -> dict[str, float]:
    """Recalls by contrastive similarity ("itc_tr_r1", ...) and, where the model can match, re-ranked by both stages
    ("two_stage_tr_r1", ...; `candidates` of each query) and as published, by the fused score alone ("matched_tr_r1", ...); "chance_tr_r1", ...
    are those of guessing. Means over so many `folds` of the images (`Gallery.folds`).

    Every process computes the whole: scoring pairs needs all states together.
    """
    gallery = encode_gallery(model, loader.iterate(), world.device)
    found = fold_mean([_searched(model, part, candidates) for part in gallery.folds(folds)])
    counts = {"images": len(gallery.image), "captions": len(gallery.owner), "folds": folds}
    return found | {name: float(count) for name, count in counts.items()}


def _searched(model: Model, gallery: Gallery, candidates: int) -> dict[str, float]:
    owner = gallery.owner
    found = {f"itc_{name}": value for name, value in retrieval_metrics(gallery.similarity, owner).items()}
    if "itm" in model.heads:
        reranked = two_stage(model.system, model.head("itm"), gallery, candidates)  # type: ignore[arg-type]
        for how, published in (("two_stage", False), ("matched", True)):
            by_image, by_text = reranked.tables(published)
            scores = retrieval_metrics(by_image, owner, image_scores=by_text)
            found |= {f"{how}_{name}": value for name, value in scores.items()}
    return found | {f"chance_{name}": value for name, value in guessing(owner, len(gallery.image)).items()}


def _captions(model: Model, loader: Loader, world: World) -> list[Judged]:
    """One caption for each image, whose record is what people wrote."""
    rows = []
    for batch in loader.iterate():
        answers = model.decode(batch.to(world.device), "caption")
        for sample, answer in zip(batch.samples, answers, strict=True):
            rows.append(Judged(sample.captions, sample.id, answer.text, answer.score))
    return gathered(rows, world)


def captioning(model: Model, loader: Loader, world: World) -> dict[str, float]:
    """{"bleu1".."bleu4", "rouge_l", "cider_d", "count"} of one caption for each image, against all of people's captions;
    "meteor" where its program is installed.

    Where every image has two captions or more: "reference_cider_d", of each image's first caption against the others,
    and beside it "others_cider_d", that of the model's against the same others. Images without captions are left out.
    """
    rows = [row for row in _captions(model, loader, world) if row.record]
    _require(rows, "captions")
    written, people = [row.answer for row in rows], [row.record for row in rows]
    found = caption_metrics(written, people) | meteor_where_installed(written, people)
    if all(len(group) > 1 for group in people):
        first, others = [group[0] for group in people], [group[1:] for group in people]
        found["reference_cider_d"] = caption_metrics(first, others)["cider_d"]
        found["others_cider_d"] = caption_metrics(written, others)["cider_d"]
    return found | {"count": float(len(rows))}


EVALUATIONS: dict[str, Task] = {
    "retrieval": Task("captions", retrieval, shared=False),
    "caption": Task("captions", captioning),
    "vqa": Task("questions", vqa),
    "nlvr2": Task("statements", statements("nlvr2")),
    "nlvr": Task("statements", statements("nlvr")),
    "entailment": Task("statements", statements("entailment")),
    "detection": Task("expressions", evaluate_regions.detection),
    "grounding": Task("phrases", evaluate_regions.grounding),
    "referring": Task("expressions", evaluate_regions.referring),
}


@torch.no_grad()
def submission(model: Model, loader: Loader, world: World, task: str) -> list[dict[str, Any]]:
    """The answers of a task in the form that its evaluation server takes: vqa, [{"question_id", "answer"}]; caption,
    [{"image_id", "caption"}], the number being what ends the sample's id. Ids that are numbers are written as such."""
    if task == "vqa":
        judged = judge(model, loader, world, "vqa")
        return [{"question_id": _number(row.record.id), "answer": row.answer} for row in judged]
    if task != "caption":
        raise TaskError(f"there is no submission file of {task}; there is one of vqa and of caption")
    rows = _captions(model, loader, world)
    return [{"image_id": _number(row.sample.rpartition("_")[2]), "caption": row.answer} for row in rows]


def _number(name: str) -> int | str:
    return int(name) if name.isdigit() else name


def _samples(batch: Batch, reads: str) -> list[str]:
    """The id of the sample behind every text row."""
    owner = texts_of(batch, reads).owner
    first = owner if owner.ndim == 1 else owner[:, 0]
    per_sample = len(batch.images) // max(len(batch.samples), 1)
    return [batch.samples[int(row) // per_sample].id for row in first]


def _require(judged: Sequence[Judged], what: str) -> None:
    if not judged:
        raise TaskError(f"there is nothing to score: the data holds no {what}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
