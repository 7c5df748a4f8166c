"""Scores over a data set are those of its answers, counted by hand."""

from types import SimpleNamespace

import pytest
import torch

from vlfuse.engine.distributed import World
from vlfuse.engine.evaluate import EVALUATIONS, judge
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


def test_data_without_labels_is_refused():
    with pytest.raises(TaskError, match="no statements with labels"):
        EVALUATIONS["nlvr"].scores(Oracle(), loader_of("statements", [("a", [Statement("s")])]), World())
