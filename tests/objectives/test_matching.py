"""Image-text matching: which negatives are drawn and how often, and what is asked."""

import pytest
import torch

from tests.contract.sizes import images, texts, tiny_model, tiny_system
from vlfuse.objectives.itm import ImageTextMatching, draw_negatives
from vlfuse.systems.base import Model, States
from vlfuse.types import Batch, ConfigError

DRAWS = 20_000


def test_negatives_follow_the_softmax():
    """Pearson's statistic over many draws stays below the 1 in 10,000 quantile; a positive is never drawn."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]])
    positives = torch.tensor([[False, False, True, False, False]])
    many = draw_negatives(
        logits.expand(DRAWS, -1), positives.expand(DRAWS, -1), generator=torch.Generator().manual_seed(0)
    )
    counts = torch.bincount(many, minlength=5).double()
    assert counts[2] == 0
    expected = logits[0].masked_fill(positives[0], -torch.inf).softmax(0).double() * DRAWS
    real = ~positives[0]
    statistic = ((counts - expected)[real].square() / expected[real]).sum()
    assert statistic < 21.1  # chi-square with 3 degrees of freedom


def test_draws_repeat_with_the_generator_and_depend_on_the_row_alone():
    logits, positives = torch.randn(6, 9), torch.eye(6, 9).bool()
    draw = draw_negatives(logits, positives, torch.Generator().manual_seed(3))
    assert torch.equal(draw, draw_negatives(logits, positives, torch.Generator().manual_seed(3)))
    changed = logits.clone()
    changed[1:] = 0
    assert draw_negatives(changed, positives, torch.Generator().manual_seed(3))[0] == draw[0]


def test_extreme_logits_draw_the_hardest_negative():
    logits = torch.tensor([[1000.0, 998.0, -1000.0], [torch.finfo(torch.float32).min, 0.0, 0.0]])
    positives = torch.tensor([[True, False, False], [False, True, True]])
    assert draw_negatives(logits, positives).tolist() == [1, 0]


class Watched(ImageTextMatching):
    """Remembers the pairs it was asked to judge."""

    def judge(self, system, image, text, labels):
        self.seen = image, text, labels
        return super().judge(system, image, text, labels)


def rows_of(found: torch.Tensor, among: torch.Tensor) -> list[int]:
    """Which row of `among` each row of `found` is."""
    same = (found.flatten(1)[:, None] == among.flatten(1)[None]).all(2)
    assert (same.sum(1) == 1).all()
    return same.float().argmax(1).tolist()


def test_rows_of_the_hard_mode():
    """(image, text) matched, (image, other text), (other image, text); captions of the same image are no negatives."""
    system = tiny_system("fiber")
    head = Watched(system)
    owner = [0, 1, 0, 2, 2]
    batch = Batch(images(3), captions=texts(owner))
    for seed in range(8):
        states = States(system, batch, torch.Generator().manual_seed(seed))
        head(system, states, batch)
        image, text, labels = head.seen
        pictures = rows_of(image.tokens, states.image.tokens)
        captions = rows_of(text.tokens, states.text("captions").tokens)
        assert labels.tolist() == [1] * 5 + [0] * 10
        assert pictures[:10] == owner * 2 and captions[:5] == captions[10:] == list(range(5))
        negatives = zip(pictures[5:], captions[5:], strict=True)
        assert all(owner[caption] != picture for picture, caption in negatives)


def test_hard_negatives_prefer_what_is_similar():
    """With a very sharp temperature the nearest stranger is drawn, whatever the noise: for texts and for images."""
    system = tiny_system("fiber")
    system.temperature.data.fill_(1e-7)
    head, batch = Watched(system), Batch(images(4), captions=texts([0, 1, 2, 3]))
    states = States(system, batch, torch.Generator().manual_seed(0))
    head(system, states, batch)
    logits = system.similarity(states.image_embedding(), states.text_embedding("captions"))
    strangers = logits.detach().fill_diagonal_(-torch.inf)
    image, text, _ = head.seen
    assert rows_of(text.tokens[4:8], states.text("captions").tokens) == strangers.argmax(1).tolist()
    assert rows_of(image.tokens[8:], states.image.tokens) == strangers.argmax(0).tolist()


@pytest.mark.parametrize("count", [2, 5])
def test_rows_of_the_random_mode(count):
    """Half of the captions, rounded down, keep their image; the others get another one, and all of them get their turn."""
    system = tiny_system("fiber")
    head, batch = Watched(system, negatives="random"), Batch(images(count), captions=texts(list(range(count))))
    shown, kept = set(), torch.zeros(count)
    for seed in range(60):
        states = States(system, batch, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            head(system, states, batch)
        image, _, labels = head.seen
        pictures = rows_of(image.tokens, states.image.tokens)
        assert int(labels.sum()) == count // 2
        assert [picture == i for i, picture in enumerate(pictures)] == labels.bool().tolist()
        shown |= {(i, picture) for i, picture in enumerate(pictures)}
        kept += labels
    assert len(shown) == count * count
    assert (kept > 0).all() and (kept < 60).all()


def test_one_image_has_no_negative():
    for negatives, batch in (
        ("hard", Batch(images(1), captions=texts([0, 0]))),
        ("hard", Batch(images(2), captions=texts([1, 1]))),
        ("random", Batch(images(1), captions=texts([0]))),
    ):
        system = tiny_system("fiber")
        model = Model(system, {"itm": ImageTextMatching(system, negatives)})
        with pytest.raises(ConfigError, match="at least two images"):
            model(batch, ("itm",))


def test_unknown_negatives_are_refused():
    with pytest.raises(ConfigError, match=r"itm\.negatives is 'medium'; allowed: hard, random"):
        ImageTextMatching(tiny_system("fiber"), negatives="medium")


def test_scores_are_the_positive_logits():
    model = tiny_model("fiber", "itm").eval()
    states = States(model.system, Batch(images(3), captions=texts([0, 1, 2])))
    pooled = model.system.fuse(states.image, states.text("captions")).pooled
    expected = model.head("itm").classifier(pooled)[:, 1]
    torch.testing.assert_close(model.head("itm").scores(model.system, states.image, states.text("captions")), expected)


@pytest.mark.parametrize(("negatives", "ranked"), [("hard", True), ("random", False)])
def test_evidence_undoes_the_drawing_of_negatives(negatives, ranked):
    """The best possible head on hard negatives knows log p(own) - log p(drawn); with the similarity that drew them its ranking is that
    of p(own), which its odds alone do not give. Negatives drawn evenly need no such mend."""
    matching = ImageTextMatching(tiny_system("fiber"), negatives)
    own = torch.tensor([[0.7, 0.2, 0.1]]).log()
    similarity = torch.tensor([[3.0, 0.0, -1.0]])
    odds = own - similarity.log_softmax(1)
    assert odds.argmax() != own.argmax()
    evidence = matching.evidence(torch.stack([torch.zeros_like(odds), odds], -1), similarity)
    assert (evidence.argsort().tolist() == own.argsort().tolist()) is ranked
