"""Questions over a closed list of answers: the soft targets, the start, the answers."""

import pytest
import torch
import torch.nn.functional as F

from tests.contract.sizes import ANSWERS, batch_for, images, texts, tiny_model, tiny_system
from vlfuse.systems.base import States
from vlfuse.tasks.vqa import Vqa, best
from vlfuse.types import Batch, ConfigError, DataError


def test_loss_is_the_published_one():
    """Binary cross-entropy averaged over questions and answers, times the number of answers; several questions an image."""
    model = tiny_model("fiber", "vqa").eval()
    target = torch.tensor([[1.0, 0, 0, 0.3, 0], [0, 0, 0, 0, 0], [0, 0.6, 0.9, 0, 0]])
    batch = Batch(images(2), questions=texts([1, 0, 1], target=target))
    result = model(batch, ("vqa",))["vqa"]
    logits = model.head("vqa").logits(model.system, States(model.system, batch), batch)
    expected = F.binary_cross_entropy_with_logits(logits, target) * len(ANSWERS)
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["score"], target[torch.arange(3), logits.argmax(1)].mean())


def test_every_answer_starts_equally_unlikely():
    system = tiny_system("fiber").eval()
    head = Vqa(system, tuple(map(str, range(200))))
    batch = Batch(images(2), questions=texts([0, 1]))
    probability = head.logits(system, States(system, batch), batch).sigmoid()
    assert probability.mean().item() == pytest.approx(1 / 200, rel=0.3)


def test_best_names_the_runners_up():
    answers = best(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]), ("a", "b", "c"), alternatives=1)
    assert [(a.text, a.alternatives[0][0]) for a in answers] == [("b", "c"), ("a", "b")]
    assert answers[0].score == pytest.approx(0.7) and len(answers[0].alternatives) == 1
    assert len(best(torch.tensor([[0.1, 0.7, 0.2]]), ("a", "b", "c"))[0].alternatives) == 2


def test_a_list_of_answers_is_needed_and_kept():
    with pytest.raises(ConfigError, match="list of answers"):
        Vqa(tiny_system("fiber"), ())
    assert tiny_model("fiber", "vqa").head("vqa").settings() == {"answers": ANSWERS}, "what is not the default"


def test_training_needs_answers():
    with pytest.raises(DataError, match="no answers"):
        tiny_model("fiber", "vqa")(Batch(images(1), questions=texts([0])), ("vqa",))


def test_one_right_answer_is_told_by_softmax():
    system = tiny_system("fiber")
    head, batch = Vqa(system, ANSWERS, single=True), batch_for("vqa")
    states = States(system, batch)
    logits = head.logits(system, states, batch)
    loss = head(system, states, batch)["loss"]
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.questions.target.argmax(1)))
    for answer, row in zip(head.decode(system, states, batch), logits.softmax(1), strict=True):
        assert answer.score == pytest.approx(row.max().item(), rel=1e-5)
    assert head.settings() == {"answers": ANSWERS, "single": True}
