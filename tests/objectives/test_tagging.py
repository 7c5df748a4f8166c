"""Region tagging: which tokens a box covers, and what they are asked to name."""

import torch

from tests.contract.sizes import batch_for, images, texts, tiny_model
from vlfuse.objectives.tagging import covered
from vlfuse.systems.base import States
from vlfuse.types import Batch


def test_a_box_covers_the_tokens_whose_centres_it_nears():
    on = covered(torch.tensor([[0.0, 0.0, 8.0, 4.0], [9.0, 9.0, 10.0, 10.0]]), (4, 4), (16, 16)).view(2, 4, 4)
    assert on[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] or on[0, 0, :2].all()
    assert on[1, 2, 2] and on[1].sum() <= 4


def test_the_smallest_thing_has_a_token():
    for corner in torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) * 15:
        box = torch.tensor([[*corner.tolist(), *(corner + 0.5).tolist()]])
        assert covered(box, (4, 4), (16, 16)).any()


def test_the_loss_is_that_of_every_token_and_word_written_out():
    model, batch = tiny_model("fiber", "tagging").eval(), batch_for("tagging")
    head = model.head("tagging")
    states = States(model.system, batch)
    found = head(model.system, states, batch)["loss"]
    tokens, grid = states.image.tokens, states.image.grid
    words = batch.regions.tokens.ids.unique().tolist()
    scores = head.words(head.norm(tokens)).sigmoid()
    on = covered(batch.regions.target, grid, batch.images.pixels.shape[-2:])
    sums = {True: [], False: []}
    for row in range(len(tokens)):
        for place in range(tokens.shape[1]):
            here = {
                int(word)
                for region in range(len(on))
                if batch.regions.owner[region] == row and on[region, place]
                for word in batch.regions.tokens.ids[region][batch.regions.tokens.mask[region]]
            }
            chance = [scores[row, place, w] if w in here else 1 - scores[row, place, w] for w in words]
            sums[bool(here)].append(-torch.stack(chance).log().sum())
    errors = [
        (head.boxes(head.norm(tokens[batch.regions.owner[region], place])) - batch.regions.target[region] / 24).abs()
        for region in range(len(on))
        for place in range(tokens.shape[1])
        if on[region, place]
    ]
    expected = sum(torch.stack(part).mean() for part in sums.values()) / 2 + 5 * torch.stack(errors).mean()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_picture_without_regions_is_all_ground():
    model = tiny_model("fiber", "tagging").eval()
    batch = Batch(images(2), regions=texts([0], target=torch.tensor([[0.0, 0.0, 24.0, 24.0]])))
    loss = model(batch)["tagging"]["loss"]
    assert loss.isfinite()
