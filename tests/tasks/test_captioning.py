"""The captioning head: cached writing, what it learns from, what it says when it cannot."""

from dataclasses import replace

import pytest
import torch

from tests.contract.sizes import LENGTH, VOCABULARY, batch_for, images, tiny_model
from vlfuse.metrics.caption import CiderD
from vlfuse.systems.base import Model
from vlfuse.tasks.captioning import CachedWriter, Captioning, Learning, gold_weights
from vlfuse.tasks.search import Decoding
from vlfuse.types import Batch, ConfigError, DataError, Sample, TaskError, Tokens


def captioner(**dropout) -> tuple[Model, Captioning]:
    model = tiny_model("fiber", "caption").eval()
    head: Captioning = model.head("caption")  # type: ignore[assignment]
    head.spell = lambda ids: "".join(f" w{i}" for i in ids)
    return model, head


def memory_of(model: Model, head: Captioning, count: int, **size):
    return head.writer.remember(model.system, model.system.encode_image(images(count, **size)))


@torch.no_grad()
def test_cached_decoding_equals_rerunning_the_whole_prefix():
    """Word by word, with hypotheses that change places and a prompt of several words, on images padded to one size."""
    model, head = captioner()
    whole = images(2)
    padded = replace(whole, sizes=torch.tensor([[24, 24], [16, 12]]))
    memory = head.writer.remember(model.system, model.system.encode_image(padded))
    ids = torch.randint(5, VOCABULARY, (6, LENGTH), generator=torch.Generator().manual_seed(3))
    prompt = torch.tensor([[0, 7, 9]] * 2)
    writer = CachedWriter(head, model.system, memory, LENGTH)
    logits = writer.next(prompt)
    so_far = prompt
    rows = torch.tensor([0, 0, 0, 1, 1, 1])
    for step in range(LENGTH - 3):
        again = head.writer(model.system, so_far, memory[rows] if step else memory)[:, -1]
        torch.testing.assert_close(logits, head.logits(again), atol=1e-5, rtol=1e-5)
        moved = torch.tensor([2, 0, 0, 5, 5, 3]) if step else rows
        writer.select(moved)
        so_far = torch.cat([so_far[moved], ids[:, step : step + 1]], dim=1)
        logits = writer.next(ids[:, step : step + 1])


@torch.no_grad()
def test_every_token_is_computed_once():
    """Each step runs one token of each hypothesis, and the image once in all."""
    model, head = captioner()
    seen, pictures = [], []
    model.system.text.layers[0].register_forward_hook(lambda _m, given, _o: seen.append(given[0].shape[:2]))  # type: ignore[union-attr,operator]
    last = model.system.text.layers[2].cross  # type: ignore[union-attr,operator]
    last.key_value.register_forward_hook(lambda _m, given, _o: pictures.append(len(given[0])))  # type: ignore[union-attr,operator]
    head.specials = replace(head.specials, never=(2,))  # nothing ends before its time
    memory = memory_of(model, head, 2)
    head.write(model.system, memory, Decoding(beam=3, max_tokens=4), prompt=[8, 9])
    assert seen == [(2, 3), (6, 1), (6, 1), (6, 1)]
    assert pictures == [2]


@torch.no_grad()
def test_captions_follow_the_prompt():
    model, head = captioner()
    memory = memory_of(model, head, 2)
    prompt = [11, 12]
    found = head.write(model.system, memory, Decoding(beam=1, max_tokens=1), prompt)
    logits = head.logits(head.writer(model.system, torch.tensor([[0, *prompt]] * 2), memory)[:, -1])
    logits[:, [0, 1]] = -torch.inf
    expected = logits.argmax(-1).tolist()
    assert found.ids[:, 0, 0].tolist() == [i if i != 2 else 1 for i in expected]


@torch.no_grad()
def test_one_caption_for_each_image():
    model, _ = captioner()
    batch = batch_for("caption", 3)
    answers = model.decode(Batch(batch.images), "caption")
    assert len(answers) == 3 and all(0 <= a.score <= 1 and "w2" not in a.text.split() for a in answers)
    assert [a.text for a in model.decode(batch, "caption")] == [a.text for a in answers]
    one = model.decode(Batch(batch.images[[1]]), "caption")
    assert one[0].text == answers[1].text


def test_words_after_the_end_of_a_text_do_not_count():
    model, head = captioner()
    batch = batch_for("caption", 3)
    tokens = batch.captions.tokens
    longer = Tokens(torch.nn.functional.pad(tokens.ids, (0, 3), value=1), torch.nn.functional.pad(tokens.mask, (0, 3)))
    memory = memory_of(model, head, 3)
    short, _ = head.log_probabilities(model.system, tokens, memory)
    long, real = head.log_probabilities(model.system, longer, memory)
    torch.testing.assert_close(long[:, : short.shape[1]], short, atol=1e-5, rtol=1e-5)
    assert not real[:, short.shape[1] :].any() and not long[:, short.shape[1] :].any()


def test_gold_weights_by_hand():
    probability = torch.tensor([[0.5, 0.8, 0.9], [0.2, 0.6, 0.7]])
    real = torch.tensor([[True, True, True], [True, True, False]])
    q = torch.tensor([[(0.5 + 0.8 + 0.9) / 3, 0.85, 0.9], [0.4, 0.6, 0.0]])
    expected = (q * probability).clamp(min=0.1)
    assert torch.allclose(gold_weights(probability, real)[real], expected[real])


def test_gold_does_not_depend_on_padding():
    """As published it does: the loss falls as texts are padded further."""
    _, head = captioner()
    found, behaviour = torch.full((2, 4), -1.0), torch.full((2, 4), -0.5)
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    found = found.masked_fill(~real, 0)

    def loss(pad: int) -> float:
        more = [torch.nn.functional.pad(x, (0, pad)) for x in (found, real, behaviour)]
        return float(head.gold(*more))

    assert loss(0) == pytest.approx(loss(5))
    head.learning = Learning(by="gold", published=True)
    assert loss(5) < loss(0)


def test_the_copy_of_gold_is_made_anew_when_due():
    model, head = captioner()
    head.learning = Learning(by="gold", refresh=2)
    head.reward, spell = CiderD({}, 2.0), head.spell
    model.train()
    batch, copies = batch_for("caption"), []
    for _ in range(4):
        model(batch, ("caption",))["caption"]["loss"].backward()
        copies.append(head._copies[0][1])
    assert copies[0] is copies[1] and copies[1] is not copies[2] and copies[2] is copies[3]
    assert copies[0].spell is spell and copies[0].reward is head.reward and not copies[0].training
    assert head.training and model.system.training
    assert not any("copies" in name for name in model.state_dict())


def rewarded_batch() -> Batch:
    batch = batch_for("caption", 2)
    samples = tuple(Sample(str(i), ("",), captions=(f"w{7 + i} w{8 + i}", f"w{7 + i}")) for i in range(2))
    return replace(batch, samples=samples)


def test_rewarded_captions_become_likelier():
    """With the reward of one sample above the others', its gradient makes it likelier and those less likely."""
    model, head = captioner()
    head.learning = Learning(by="cider", samples=3)
    memory = memory_of(model, head, 2)
    drawn = torch.tensor([[7, 8, 1], [9, 1, 1], [10, 11, 12], [7, 8, 1], [9, 1, 1], [10, 11, 12]])
    rewards = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    loss, before = head.policy_loss(model.system, memory, drawn, rewards)
    loss.backward()
    optimiser.step()
    _, after = head.policy_loss(model.system, memory_of(model, head, 2), drawn, rewards)
    assert after[0] > before[0] and after[5] > before[5]
    assert float((after - before)[[1, 2, 3, 4]].sum().detach()) < 0


def test_learning_from_rewards():
    model, head = captioner()
    head.learning = Learning(by="cider", samples=4)
    model.train()
    with pytest.raises(ConfigError, match="document frequencies"):
        model(rewarded_batch(), ("caption",))
    head.reward = CiderD.of([[["w7", "w8", "<eos>"]], [["w8", "w9", "<eos>"]], [["w3", "<eos>"]]])
    found = model(rewarded_batch(), ("caption",), torch.Generator().manual_seed(0))["caption"]
    assert found["loss"].requires_grad and 0 <= float(found["reward"]) <= 10 and model.training
    with pytest.raises(DataError, match="has none"):
        model(batch_for("caption", 2), ("caption",))


def test_a_cut_off_sample_learns_no_end():
    _, head = captioner()
    tokens = head._framed(torch.tensor([[5, 6, 1], [5, 6, 7], [1, 1, 1]]))
    assert tokens.ids.tolist() == [[0, 5, 6, 2], [0, 5, 6, 7], [0, 2, 1, 1]]
    assert tokens.mask.sum(1).tolist() == [4, 4, 2]


def test_errors_say_what_to_do():
    model, head = captioner()
    head.spell = None
    with pytest.raises(ConfigError, match="spell"):
        model.decode(batch_for("caption", 1), "caption")
    with pytest.raises(TaskError, match="lower max_tokens"):
        head.write(model.system, memory_of(model, head, 1), Decoding(max_tokens=500))
    with pytest.raises(ConfigError, match="mle, gold or cider"):
        Learning(by="luck")  # type: ignore[arg-type]
