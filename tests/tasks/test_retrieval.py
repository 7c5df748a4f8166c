"""Retrieval: a gallery from many batches, fused scores of chosen pairs, and re-ranking."""

from dataclasses import replace

import pytest
import torch

from tests.contract.sizes import images, texts, tiny_model
from vlfuse.systems.base import Model
from vlfuse.tasks.retrieval import Gallery, encode_gallery, fused_logits, fused_scores, two_stage
from vlfuse.types import Batch, ConfigError, TaskError, Texts, Tokens

OWNER = [0, 0, 1, 2, 2, 2, 3]


@pytest.fixture
def model() -> Model:
    model = tiny_model("fiber", "itm").eval()
    torch.nn.init.normal_(model.head("itm").classifier.weight)  # well apart, so that no two scores tie
    return model


def part(whole: Texts, first: int, last: int, start: int, length: int) -> Texts:
    """Texts first..last of a batch whose images begin at `start`, padded to their own `length`."""
    rows = Tokens(whole.tokens.ids[first:last, :length], whole.tokens.mask[first:last, :length])
    return replace(whole, tokens=rows, owner=whole.owner[first:last] - start)


@pytest.fixture
def gallery(model) -> Gallery:
    return encode_gallery(model, [Batch(images(4), captions=texts(OWNER))])


def test_gallery_of_many_batches_equals_that_of_one(model, gallery):
    """Batches padded to unlike lengths, with unlike numbers of captions."""
    pictures, captions = images(4), texts(OWNER)
    longest = int(captions.tokens.mask[3:].sum(1).max())
    assert longest < captions.tokens.ids.shape[1], "the second batch must be shorter"
    batches = [
        Batch(pictures[:2], captions=part(captions, 0, 3, 0, captions.tokens.ids.shape[1])),
        Batch(pictures[2:], captions=part(captions, 3, 7, 2, longest)),
    ]
    found = encode_gallery(model, iter(batches))
    assert found.owner.tolist() == OWNER == gallery.owner.tolist()
    torch.testing.assert_close(found.similarity, gallery.similarity)
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(7))
    itm = model.head("itm")
    torch.testing.assert_close(
        fused_logits(model.system, itm, found, pairs), fused_logits(model.system, itm, gallery, pairs)
    )


def test_folds_are_galleries_of_their_own(model, gallery):
    """Two images each with their captions, as if nothing else had been encoded."""
    pictures, captions = images(4), texts(OWNER)
    length = captions.tokens.ids.shape[1]
    alone = [
        encode_gallery(model, [Batch(pictures[first : first + 2], captions=part(captions, a, b, first, length))])
        for first, a, b in ((0, 0, 3), (2, 3, 7))
    ]
    for fold, own in zip(gallery.folds(2), alone, strict=True):
        assert fold.owner.tolist() == own.owner.tolist()
        torch.testing.assert_close(fold.similarity, own.similarity)
        pairs = torch.cartesian_prod(torch.arange(2), torch.arange(len(own.owner)))
        one, other = (fused_logits(model.system, model.head("itm"), which, pairs) for which in (fold, own))
        torch.testing.assert_close(one, other)
    for number in (0, 3):
        with pytest.raises(ConfigError, match=f"folds is {number}; 4 images"):
            gallery.folds(number)


def test_fused_scores_do_not_depend_on_batches(model, gallery):
    itm, pairs = model.head("itm"), torch.tensor([[0, 3], [3, 0], [1, 2], [2, 6], [0, 3]])
    seen: list[tuple[int, int]] = []
    small = fused_logits(model.system, itm, gallery, pairs, 2, lambda done, of: seen.append((done, of)))
    torch.testing.assert_close(small, fused_logits(model.system, itm, gallery, pairs))
    torch.testing.assert_close(small[0], small[4])
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert fused_scores(model.system, itm, gallery, pairs[:0]).shape == (0,)


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("candidates", [1, 2, 3, 100])
def test_two_stages(model, gallery, candidates, published):
    """The best by contrast are re-ordered by fusion and stay above the rest, which keep their order; for both directions."""
    itm, (B, N) = model.head("itm"), gallery.similarity.shape
    pairs = torch.cartesian_prod(torch.arange(B), torch.arange(N))
    logits = fused_logits(model.system, itm, gallery, pairs).view(B, N, 2)
    fused = logits[..., 1] if published else logits[..., 1] - logits[..., 0] + gallery.similarity
    for_images, for_texts = two_stage(model.system, itm, gallery, candidates, batch_size=5).tables(published)

    def order(similarity, scores) -> list[int]:
        first = similarity.argsort(descending=True).tolist()
        chosen = sorted(first[:candidates], key=lambda i: -scores[i].item())
        return chosen + first[candidates:]

    for row in range(B):
        expected = order(gallery.similarity[row], fused[row])
        assert for_images[row].argsort(descending=True).tolist() == expected
    for column in range(N):
        expected = order(gallery.similarity[:, column], fused[:, column])
        assert for_texts[:, column].argsort(descending=True).tolist() == expected


def test_only_candidates_are_fused(model, gallery):
    asked: list[int] = []
    two_stage(model.system, model.head("itm"), gallery, 1, progress=lambda done, of: asked.append(of))
    assert asked[-1] <= 4 + 7


def test_mistakes_are_named(model, gallery):
    with pytest.raises(ConfigError, match="candidates is 0"):
        two_stage(model.system, model.head("itm"), gallery, candidates=0)
    with pytest.raises(TaskError, match="at least one image"):
        encode_gallery(model, [])
