"""Scores over a data set are those of its answers, counted by hand."""

from types import SimpleNamespace

import pytest
import torch

from vlfuse.engine.distributed import World
from vlfuse.engine.evaluate import EVALUATIONS, judge, submission
from vlfuse.metrics.caption import caption_metrics
from vlfuse.types import Answer, Batch, Images, Question, Sample, Statement, TaskError, Texts, Tokens

ANSWERS = {"how many": "2", "what colour": "red", "is it": "yes"}


class Oracle:
    """Answers by a table of texts."""

    system, heads = None, {}

    def head(self, name):
        return SimpleNamespace(reads=EVALUATIONS[name].reads)

    def decode(self, batch, head):
        records = getattr(batch, EVALUATIONS[head].reads).records
        return [Answer(ANSWERS.get(getattr(r, "question", ""), "true"), 0.9) for r in records]


def loader_of(reads, *samples, pictures=1):
    """One batch for each list of samples, given as (id, records)."""

    def batch(rows):
        records = [record for _, given in rows for record in given]
        first = torch.tensor([i * pictures for i, (_, given) in enumerate(rows) for _ in given])
        owner = first if pictures == 1 else torch.stack([first, first + 1], 1)
        tokens = Tokens(torch.zeros(len(records), 2).long(), torch.ones(len(records), 2).bool())
        texts = Texts(tokens, owner, records=tuple(records))
        images = Images(torch.zeros(len(rows) * pictures, 3, 2, 2), torch.full((len(rows) * pictures, 2), 2))
        return Batch(images, samples=tuple(Sample(name, ("a",) * pictures) for name, _ in rows), **{reads: texts})

    return SimpleNamespace(iterate=lambda: map(batch, samples))


def test_vqa():
    loader = loader_of(
        "questions",
        [("a", [Question("how many", ("two",), "0.1.count"), Question("what colour", ("blue",), "0.2.colour")])],
        [("b", [Question("is it", ("yes",), "1.0.count"), Question("is it", (), "1.1.count")])],
    )
    found = EVALUATIONS["vqa"].scores(Oracle(), loader, World())
    expected = {"accuracy": 2 / 3, "majority": 1 / 3, "count": 3, "accuracy_colour": 0, "accuracy_count": 1}
    assert found == pytest.approx(expected)


def test_pairs_and_their_consistency():
    rows = [(f"dev-{s}-{pair}-0", [Statement("s", label)]) for s, pair, label in ((0, 0, "true"), (0, 1, "false"), (1, 0, "true"))]  # fmt: skip
    loader = loader_of("statements", rows[:2], rows[2:], pictures=2)
    assert [row.sample for row in judge(Oracle(), loader, World(), "nlvr2")] == [name for name, _ in rows]
    found = EVALUATIONS["nlvr2"].scores(Oracle(), loader, World())
    assert found == pytest.approx({"accuracy": 2 / 3, "majority": 2 / 3, "count": 3, "consistency": 1 / 2})


def test_consistency_of_converted_pairs():
    """Their samples are named without the sentence, of which each pair may have several."""
    rows = [
        ("dev-0-0", [Statement("one", "true"), Statement("two", "true")]),
        ("dev-0-1", [Statement("one", "false"), Statement("two", "true")]),
        ("dev-1-0", [Statement("one", "true")]),
    ]
    found = EVALUATIONS["nlvr2"].scores(Oracle(), loader_of("statements", rows, pictures=2), World())
    assert found["accuracy"] == pytest.approx(4 / 5) and found["consistency"] == pytest.approx(2 / 3)
    scenes = loader_of("statements", [("test-0-1", [Statement("one", "true")])], pictures=2)
    assert "consistency" not in EVALUATIONS["nlvr2"].scores(Oracle(), scenes, World())


def test_captions_beside_a_persons():
    """One caption an image; the first of people's stands trial beside it, before the others."""
    given = {"a": ("a red dog", "a red dog runs", "dog"), "b": ("two cats", "two cats sit", "cats")}

    class Describer(Oracle):
        def decode(self, batch, head):
            return [Answer({"a": "a red dog runs", "b": "a bird"}[s.id], 0.5) for s in batch.samples]

    samples = tuple(Sample(name, ("x",), captions=texts) for name, texts in given.items())
    batch = Batch(Images(torch.zeros(2, 3, 2, 2), torch.full((2, 2), 2)), samples=samples)
    found = EVALUATIONS["caption"].scores(Describer(), SimpleNamespace(iterate=lambda: [batch]), World())
    expected = caption_metrics(["a red dog runs", "a bird"], list(given.values()))
    assert {name: found[name] for name in expected} == expected and found["count"] == 2
    others = [texts[1:] for texts in given.values()]
    assert found["reference_cider_d"] == caption_metrics(["a red dog", "two cats"], others)["cider_d"]
    assert found["others_cider_d"] == caption_metrics(["a red dog runs", "a bird"], others)["cider_d"]


def test_submission_files():
    questions = loader_of("questions", [("a", [Question("how many", (), "420"), Question("is it", (), "x.1")])])
    rows = submission(Oracle(), questions, World(), "vqa")
    assert rows == [{"question_id": 420, "answer": "2"}, {"question_id": "x.1", "answer": "yes"}]

    class Describer(Oracle):
        def decode(self, batch, head):
            return [Answer("a dog", 0.5)]

    batch = Batch(
        Images(torch.zeros(1, 3, 2, 2), torch.full((1, 2), 2)), samples=(Sample("COCO_val2014_000042", ("x",)),)
    )
    rows = submission(Describer(), SimpleNamespace(iterate=lambda: [batch]), World(), "caption")
    assert rows == [{"image_id": 42, "caption": "a dog"}]
    with pytest.raises(TaskError, match="no submission file of nlvr"):
        submission(Oracle(), questions, World(), "nlvr")


def test_data_without_labels_is_refused():
    with pytest.raises(TaskError, match="no statements with labels"):
        EVALUATIONS["nlvr"].scores(Oracle(), loader_of("statements", [("a", [Statement("s")])]), World())
