"""What every system owes to every objective and task."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.contract.sizes import ANSWERS, TINY, batch_for, images, tiny_model
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems import SYSTEMS
from vlfuse.systems.base import Model
from vlfuse.tasks import TASKS
from vlfuse.types import Batch, TaskError, Texts

HEADS = (*OBJECTIVES, *TASKS)
LACKS = {"bridgetower": ("grounding", "caption")}  # heads that need what a system has not


def heads_of(name: str) -> list[str]:
    return [head for head in HEADS if head not in LACKS.get(name, ())]


EVERY = [pytest.param(name, head, id=f"{name}-{head}") for name in SYSTEMS for head in heads_of(name)]
DECODING = [
    pytest.param(name, head, id=f"{name}-{head}") for name in SYSTEMS for head in heads_of(name) if head in TASKS
]
CLOSED = [pytest.param(name, head, id=f"{name}-{head}") for name in SYSTEMS for head in TASKS if head != "caption"]

DUAL = ("_transform_itc.", "_pooler_itc.", "image.norm.")
FUSION = ("text_transform.", "image_transform.", "text_pooler.", "image_pooler.", ".cross.")
IMAGE_CROSS = ("image.stages.1.blocks.1.cross.", "image.stages.2.blocks.0.cross.", "image.stages.2.blocks.1.cross.")
IDLE = {  # parts of a system that a head has no use for; everything else must learn from it
    "fiber": {
        "itc": FUSION,  # the dual encoder fuses nothing
        "mlm": (
            *DUAL,
            "temperature",
            "text.layers.2.output_norm.",
            "text_pooler.",
            "image_pooler.",
            "image_transform.",
        ),
        "tagging": (  # the trunk alone
            *DUAL,
            "temperature",
            "text.",
            "text_",
            "image_transform.",
            "image_pooler.",
            "image.stages.1.blocks.1.",
            "image.stages.1.merge.",
            "image.stages.2.",
        ),
        "caption": (  # images never read
            *DUAL,
            "temperature",
            "image_transform.",
            "image_pooler.",
            "text_pooler.",
            *IMAGE_CROSS,
        ),
        "pointing": (  # of the last text layer, only how it looks
            *DUAL,
            "temperature",
            "_transform.",
            "_pooler.",
            "text.layers.2.attention_norm.",
            "text.layers.2.mlp.",
            "text.layers.2.output_norm.",
            "text.layers.2.cross.proj.",
            "text.layers.2.cross.gate",
        ),
        "spotting": (  # the image's half
            *DUAL,
            "temperature",
            "_pooler.",
            "text_transform.",
            "text.layers.2.",
        ),
        "grounding": (*DUAL, "temperature", "_transform.", "_pooler."),
        None: (*DUAL, "temperature", "text.layers.2.output_norm."),  # fused: the last text layer is not normalised
    },
    "bridgetower": {
        "itc": (  # from the backbones alone
            "_layers.",
            "_bridges.",
            "image_norm.",
            "text_norm.",
            "_transform.",
            "_pooler.",
            "token_types",
        ),
        "mlm": ("_projection.", "temperature", "_pooler."),
        "tagging": (
            "_projection.",
            "temperature",
            "_pooler.",
            "_layers.",
            "_bridges.",
            "_norm.",
            "token_types",
            "text",
        ),
        "pointing": (  # of the last text layer, only how it looks
            "_projection.",
            "temperature",
            "_pooler.",
            "text_layers.1.cross.proj.",
            "text_layers.1.cross_norm.",
            "text_layers.1.mlp.",
            "text_layers.1.output_norm.",
        ),
        "spotting": ("_projection.", "temperature", "_pooler.", "text_layers.1."),  # the image's half
        None: ("_projection.", "temperature"),
    },
}
# Share of the loss that cannot be learnt away: targets between 0 and 1 have an entropy (how central a place is).
FLOOR = {"grounding": 0.25}
# The last image block of a fused pass that only texts are read from: what it computes goes nowhere.
UNREAD = {
    "fiber": {
        "mlm": ("image.stages.2.blocks.1.",),
        "pointing": ("image.stages.2.blocks.1.",),
    },
    "bridgetower": {"mlm": ("image_layers.1.",), "pointing": ("image_layers.1.",)},
}


def run(model: Model, head: str, batch: Batch) -> torch.Tensor:
    return model(batch, (head,), torch.Generator().manual_seed(0))[head]["loss"]


def test_every_system_has_a_tiny_size():
    assert TINY.keys() == SYSTEMS.keys()


@pytest.mark.parametrize(("name", "head"), EVERY)
def test_everything_that_should_learn_gets_a_gradient(name, head):
    """From one batch; key biases alone may get none, as they shift all scores of a query alike."""
    model = tiny_model(name, head).train()
    result = model(batch_for(head), (head,), torch.Generator().manual_seed(0))[head]
    assert all(value.ndim == 0 and value.isfinite() for value in result.values())
    assert all(not value.requires_grad for key, value in result.items() if key != "loss")
    result["loss"].backward()
    idle = IDLE[name].get(head, IDLE[name][None]) + UNREAD[name].get(head, ())
    for parameter, tensor in model.named_parameters():
        expected = not any(part in parameter for part in idle)
        learns = tensor.grad is not None and bool(tensor.grad.any())
        assert learns == expected, f"{parameter} {'learns' if learns else 'does not learn'} from {head}"
        assert tensor.grad is None or tensor.grad.isfinite().all()


@pytest.mark.parametrize(("name", "head"), EVERY)
def test_four_samples_can_be_learnt_by_heart(name, head):
    model = tiny_model(name, head).train()
    batch, optimiser = batch_for(head), torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(400):
        optimiser.zero_grad()
        loss = run(model, head, batch)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if losses[-1] < FLOOR.get(head, 0.02) * losses[0]:
            return
    raise AssertionError(f"{head} fell from {losses[0]:.3f} to {min(losses):.3f} only")


@pytest.mark.parametrize(("name", "head"), CLOSED)
def test_answers_come_from_the_closed_list(name, head):
    model, batch = tiny_model(name, head).eval(), batch_for(head)
    labels = ANSWERS if head == "vqa" else TASKS[head].labels
    answers = model.decode(batch, head)
    assert len(answers) == 4
    for answer in answers:
        scores = [answer.score, *(score for _, score in answer.alternatives)]
        names = [answer.text, *(text for text, _ in answer.alternatives)]
        assert set(names) <= set(labels) and len(set(names)) == len(names)
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize(("name", "head"), DECODING)
def test_batch_order_does_not_matter(name, head):
    """Loss and answers are those of the samples, whatever stands beside them and in which order."""
    model, batch = tiny_model(name, head).eval(), batch_for(head)
    # Captions are written for images, whatever texts stand beside them, and `reordered` turns the images round.
    order = torch.tensor([3, 2, 1, 0] if head == "caption" else [2, 0, 3, 1])
    shuffled = reordered(batch, order, TASKS[head].reads)
    torch.testing.assert_close(run(model, head, shuffled), run(model, head, batch), atol=1e-6, rtol=1e-5)
    answers = model.decode(batch, head)
    for i, answer in zip(order.tolist(), model.decode(shuffled, head), strict=True):
        assert answer.text == answers[i].text
        assert answer.score == pytest.approx(answers[i].score, abs=1e-5)
    alone = reordered(batch, torch.tensor([1]), TASKS[head].reads)
    if head == "caption":
        alone = Batch(batch.images[[1]])
    assert model.decode(alone, head)[0].score == pytest.approx(answers[1].score, abs=1e-5)


@pytest.mark.parametrize("head", ["mlm", "itc"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_batch_order_does_not_matter_to_objectives(name, head):
    model, batch = tiny_model(name, head).eval(), batch_for(head)
    shuffled = reordered(batch, torch.tensor([2, 0, 3, 1]), "captions")
    torch.testing.assert_close(run(model, head, shuffled), run(model, head, batch), atol=1e-6, rtol=1e-5)


def reordered(batch: Batch, order: torch.Tensor, field: str) -> Batch:
    """The texts in another order, the images turned round; each text keeps its images."""
    given: Texts = getattr(batch, field)
    last = len(batch.images) - 1
    pick = {
        key: None if getattr(given, key) is None else getattr(given, key)[order]
        for key in ("target", "masked_ids", "mask_labels")
    }
    records = tuple(given.records[i] for i in order.tolist())
    turned = replace(given, tokens=given.tokens[order], owner=last - given.owner[order], records=records, **pick)
    return replace(batch, images=batch.images[torch.arange(last, -1, -1)], **{field: turned})


@pytest.mark.parametrize(("name", "head"), EVERY)
def test_weights_travel_whole(name, head):
    """Another model of the same settings with the same weights computes the same."""
    model, other = tiny_model(name, head).eval(), tiny_model(name, head, seed=1).eval()
    batch = batch_for(head)
    assert not torch.equal(run(model, head, batch), run(other, head, batch))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(run(other, head, batch), run(model, head, batch))
    assert other.head(head).settings() == model.head(head).settings()


@pytest.mark.parametrize("name", SYSTEMS)
def test_heads_share_one_image_trunk(name):
    """Four heads on one batch cost one pass through the trunk, and give the losses that each gives alone."""
    heads = ("mlm", "itc", "itm", "vqa")
    model = tiny_model(name, *heads).eval()
    captions, questions = batch_for("itm"), batch_for("vqa")
    batch = replace(captions, questions=questions.questions)
    calls = []
    encode = model.system.encode_image
    model.system.encode_image = lambda pictures: calls.append(len(pictures)) or encode(pictures)  # type: ignore[assignment]
    together = model(batch, heads, torch.Generator().manual_seed(0))
    assert calls == [4]
    for head in heads:
        torch.testing.assert_close(run(model, head, batch), together[head]["loss"])


@pytest.mark.parametrize("name", SYSTEMS)
def test_padding_of_texts_changes_no_loss(name):
    for head in heads_of(name):
        model, batch = tiny_model(name, head).eval(), batch_for(head)
        field = model.head(head).reads
        given: Texts = getattr(batch, field)
        tokens = replace(
            given.tokens, ids=F.pad(given.tokens.ids, (0, 3), value=1), mask=F.pad(given.tokens.mask, (0, 3))
        )
        longer = replace(given, tokens=tokens)
        if given.masked_ids is not None and given.mask_labels is not None:
            masked = F.pad(given.masked_ids, (0, 3), value=1), F.pad(given.mask_labels, (0, 3), value=-100)
            longer = replace(longer, masked_ids=masked[0], mask_labels=masked[1])
        found = run(model, head, replace(batch, **{field: longer}))
        torch.testing.assert_close(found, run(model, head, batch), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_missing_is_named(name):
    model = tiny_model(name, "vqa", "itc")
    with pytest.raises(TaskError, match="no head 'nlvr2'; it has: vqa, itc"):
        model.decode(batch_for("nlvr2"), "nlvr2")
    with pytest.raises(TaskError, match="no questions"):
        model(Batch(images(1)), ("vqa",))
    with pytest.raises(TaskError, match="gives no answers"):
        model.decode(batch_for("itc"), "itc")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_parameter_has_a_role(name):
    """Heads are heads, fusion is cross; vectors, gains and tables of biases do not decay."""
    model = tiny_model(name, *heads_of(name))
    roles = model.parameter_roles()
    assert roles.keys() == {parameter for parameter, _ in model.named_parameters()}
    for parameter, (role, decays) in roles.items():
        assert (role == "head") == parameter.startswith("heads.")
        assert role != "base" or ".cross." not in parameter
        assert decays == (model.get_parameter(parameter).ndim >= 2 and not parameter.endswith("bias_table"))
