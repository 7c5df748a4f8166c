"""FIBER's captioner against recordings of the published code: losses, gradients, decoding."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.golden.fiber import assert_gradients, batch_of, model_of, recorded, texts_of
from tests.golden.vectors import Vectors, assert_close, load, vectors
from vlfuse.systems.base import Model
from vlfuse.tasks.captioning import Captioning, Learning, gold_weights
from vlfuse.tasks.search import Decoding
from vlfuse.types import Rows

PLAIN = [p for p in vectors("fiber_coarse_caption*.json") if "gold" not in str(p.id) and "cider" not in str(p.id)]


def captioner(golden: Vectors) -> tuple[Model, Captioning, Rows]:
    """The model, its head and the memory of the recorded images."""
    state = {key: tensor for key, tensor in golden.get("state/").items() if not key.startswith("copy_module.")}
    model = model_of(golden.meta, state)
    head: Captioning = model.head("caption")  # type: ignore[assignment]
    return model.train(), head, head.writer.remember(model.system, encoded(model, golden))


def encoded(model: Model, golden: Vectors):
    return model.system.encode_image(batch_of(golden["in/image"]).images)


def close(golden: Vectors, found: Tensor, name: str) -> None:
    assert_close(found.reshape(golden[name].shape), golden[name], golden.tolerance_of(name), name)


@pytest.mark.parametrize("path", PLAIN)
def test_teacher_forcing(path: Path):
    golden = load(path)
    model, head, memory = captioner(golden)
    tokens = texts_of(golden).tokens
    layers = [name for name in golden.get("mid/") if name.startswith("text_layer")]
    with recorded(model.system, layers) as outputs:  # type: ignore[arg-type]
        hidden = head.writer(model.system, tokens.ids, memory, tokens.mask)
    for name in layers:
        close(golden, outputs[name], f"mid/{name}")
    close(golden, hidden, "mid/text_feats")
    close(golden, head.logits(hidden), "out/logits")
    model.zero_grad()
    loss = model(batch_of(golden["in/image"], captions=texts_of(golden)), ("caption",))["caption"]["loss"]
    loss.backward()
    close(golden, loss, "out/loss_caption_mle")
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", PLAIN)
def test_published_beam_search(path: Path):
    golden = load(path)
    model, head, _ = captioner(golden)
    model.eval()
    memory = head.writer.remember(model.system, encoded(model, golden))
    for name, expected in golden.get("out/decode_").items():
        beam = int(name.partition("_")[0].removeprefix("beam"))
        decoding = Decoding(beam=beam, max_tokens=expected.shape[1], published=True)
        found = head.write(model.system, memory, decoding).ids[:, 0]
        assert torch.equal(found, expected), name


@pytest.mark.parametrize("path", vectors("fiber_coarse_caption_gold*.json"))
def test_gold(path: Path):
    golden = load(path)
    state = golden.get("state/copy_module.")
    behaviour = model_of(golden.meta, state).eval()
    tokens = texts_of(golden).tokens
    old: Captioning = behaviour.head("caption")  # type: ignore[assignment]
    with torch.no_grad():
        memory = old.writer.remember(behaviour.system, encoded(behaviour, golden))
        frozen, real = old.log_probabilities(behaviour.system, tokens, memory)
    assert_close(frozen.exp()[real], golden["mid/token_prob_copy"][:, :-1][real], golden.tolerance, "probabilities")
    assert_close(
        gold_weights(frozen.exp(), real)[real], golden["mid/weights"][:, :-1][real], golden.tolerance, "weights"
    )
    model, head, memory = captioner(golden)
    head.learning = Learning(by="gold", published=True)
    found, real = head.log_probabilities(model.system, tokens, memory)
    close(golden, -found.sum() / tokens.ids.numel(), "out/loss_caption_gold_eval")
    head._copies.append((behaviour.system, old))
    head.passes = 1  # the copy is there and not yet due
    loss = model(batch_of(golden["in/image"], captions=texts_of(golden)), ("caption",))["caption"]["loss"]
    loss.backward()
    close(golden, loss, "out/loss_caption_gold")
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("fiber_coarse_caption_cider*.json"))
def test_rewarded_captions(path: Path):
    golden = load(path)
    model, head, memory = captioner(golden)
    head.learning = Learning(by="cider", published=True)
    samples = golden["in/samples"]
    rewards = golden["mid/cider_d_scores"].view(len(golden["in/image"]), -1)
    s = head.specials
    drawn = samples[:, 1:].masked_fill(samples[:, 1:] == s.end, s.pad)
    reinforced, means = head.policy_loss(model.system, memory, drawn, rewards)
    close(golden, means, "mid/mean_logprob")
    close(golden, reinforced, "mid/loss_rl")
    tokens = texts_of(golden).tokens
    found, real = head.log_probabilities(model.system, tokens, memory)
    mle = -found.sum() / real.sum()
    close(golden, 0.3 * mle, "out/loss_caption_cider_eval")
    loss = 0.3 * mle + 0.7 * reinforced
    loss.backward()
    close(golden, loss, "out/loss_caption_cider")
    assert_gradients(golden, model)
