"""FIBER's losses, queue and gradients against recordings of the published training and evaluation code."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.golden.fiber import (
    assert_gradients,
    batch_of,
    images_of,
    learn,
    model_of,
    pairs_of,
    recorded_logits,
    texts_of,
    tokens_of,
)
from tests.golden.vectors import Vectors, assert_close, load, vectors
from vlfuse.metrics.retrieval import retrieval_metrics
from vlfuse.objectives.itc import FeatureQueue
from vlfuse.objectives.published import published_contrastive_loss, published_negative_weights
from vlfuse.systems.base import States
from vlfuse.tasks.retrieval import encode_gallery, fused_scores
from vlfuse.types import cat


def assert_outputs(golden: Vectors, outputs: dict[str, Tensor], prefix: str = "out/") -> None:
    for name, found in outputs.items():
        expected = golden[prefix + name]
        assert_close(found.reshape(expected.shape), expected, golden.tolerance_of(prefix + name), prefix + name)


def queue_of(golden: Vectors, prefix: str) -> FeatureQueue:
    """The recorded queue, whose columns are entries; the pointer there is a number of its own beside the count."""
    image, text = golden[f"{prefix}image_queue"].T, golden[f"{prefix}text_queue"].T
    pointer, total = int(golden[f"{prefix}queue_ptr"]), int(golden[f"{prefix}queue_total"])
    queue = FeatureQueue(*image.shape)
    queue.image.copy_(image)
    queue.text.copy_(text)
    queue.written.fill_(pointer if total < len(image) else len(image) + pointer)
    return queue


@pytest.mark.parametrize("path", vectors("fiber_coarse_itc*.json"))
def test_contrastive_loss_with_queue(path: Path):
    golden = load(path)
    for case in golden.meta["cases"]:
        check_contrastive(golden, case)


def check_contrastive(golden: Vectors, case: str) -> None:
    model = model_of(golden.meta, golden.get("state/")).train()
    system = model.system
    system.temperature.data.copy_(golden[f"in/{case}.temp"])
    queue = queue_of(golden, f"in/{case}.")
    before = int(queue.written)
    image = system.project_image(system.encode_image(images_of(golden[f"in/{case}.image"])))
    tokens = tokens_of(golden[f"in/{case}.text_ids"], golden[f"in/{case}.text_masks"])
    text = system.project_text(system.encode_text(tokens))
    loss, image_to_text, text_to_image = published_contrastive_loss(image, text, queue, system.temperature)
    negative_image = published_negative_weights(text_to_image, queue)
    negative_text = published_negative_weights(image_to_text, queue)
    queue.push(image.detach(), text.detach())
    loss.backward()
    outputs = {
        "loss_itc": loss,
        "temp_after_clamp": system.temperature,
        "neg_image_prob": negative_image,
        "neg_text_prob": negative_text,
        "image_queue_after": queue.image.T,
        "text_queue_after": queue.text.T,
        "queue_ptr_after": queue.written % queue.size,
        "queue_total_after": golden[f"in/{case}.queue_total"] + queue.written - before,
    }
    assert_outputs(golden, outputs, f"out/{case}.")
    assert_outputs(golden, {"sim_i2t": image_to_text, "sim_t2i": text_to_image}, f"mid/{case}.")
    assert_gradients(golden, model, f"grad/{case}.")


@pytest.mark.parametrize("path", vectors("fiber_coarse_pretrain_step*.json"))
def test_pretraining_step(path: Path):
    """Three losses over one image trunk; the queue's raw images and texts come back as states that the negatives index."""
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).train()
    system, itm = model.system, model.head("itm")
    captions = texts_of(golden, masked_ids=golden["in/text_ids_mlm"], mask_labels=golden["in/text_labels_mlm"])
    batch = batch_of(golden["in/image"], captions=captions)
    states = States(system, batch)
    queue = queue_of(golden, "state/")
    with recorded_logits(model, "mlm") as logits:
        mlm = model.head("mlm")(system, states, batch)["loss"]
    itc, _, _ = published_contrastive_loss(
        states.image_embedding(), states.text_embedding("captions"), queue, system.temperature
    )
    stored = golden["state/text_input_queue"][: queue.filled], golden["state/text_input_mask_queue"][: queue.filled]
    images = cat(states.image, system.encode_image(images_of(golden["in/image_input_queue_valid"][: queue.filled])))
    texts = cat(states.text("captions"), system.encode_text(tokens_of(*stored)))
    negative_image, negative_text = images[golden["in/neg_image_index"]], texts[golden["in/neg_text_index"]]
    image, text = states.image, states.text("captions")
    with recorded_logits(model, "itm") as itm_logits:
        judged = itm.judge(
            system,
            cat(image, image, negative_image),
            cat(text, negative_text, text),
            golden["out/itm_labels"].long(),
        )
    total = mlm + itc + judged["loss"]
    queue.push(states.image_embedding(), states.text_embedding("captions"))
    total.backward()
    asked = golden["in/text_labels_mlm"] >= 0
    name = "out/mlm_logits"
    assert_close(logits[0], golden[name][asked], golden.tolerance_of(name), name)
    outputs = {"loss_mlm": mlm, "loss_itc": itc, "loss_itm": judged["loss"], "loss_total": total}
    outputs |= {"itm_logits": itm_logits[0], "image_queue_after": queue.image.T}
    outputs |= {"queue_ptr_after": queue.written % queue.size}
    assert_outputs(golden, outputs)
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("fiber_coarse_itm_random_negatives*.json"))
def test_matching_with_random_negatives(path: Path):
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).train()
    labels = golden["in/itm_labels"].long()
    false = golden.get("in/false_image_")["0"]
    shown = torch.where(labels.bool()[:, None, None, None], golden["in/image"], false)
    image = model.system.encode_image(images_of(shown))
    text = model.system.encode_text(tokens_of(golden["in/text_ids"], golden["in/text_masks"]))
    with recorded_logits(model, "itm") as logits:
        loss = model.head("itm").judge(model.system, image, text, labels)["loss"]
    loss.backward()
    assert_outputs(golden, {"loss_itm": loss, "itm_logits": logits[0]})
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("fiber_coarse_vqa*.json"))
def test_question_answering(path: Path):
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).train()
    target = torch.zeros(len(golden["in/text_ids"]), golden.meta["config"]["vqav2_label_size"])
    for row, (labels, scores) in enumerate(zip(golden.meta["label_lists"], golden.meta["score_lists"], strict=True)):
        target[row, labels] = torch.tensor(scores)
    batch = batch_of(golden["in/image"], questions=texts_of(golden, target=target))
    result, logits = learn(model, batch, "vqa")
    outputs = {"vqa_targets": target, "vqa_logits": logits}
    assert_outputs(golden, outputs | {"loss_vqa": result["loss"], "vqa_score_mean": result["score"]})
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("fiber_coarse_nlvr2*.json"))
def test_reasoning_over_pairs(path: Path):
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).train()
    result, logits = learn(model, pairs_of(golden, golden["in/answers"]), "nlvr2")
    assert_outputs(golden, {"nlvr2_logits": logits, "loss_nlvr2": result["loss"]})
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("fiber_coarse_retrieval_recall*.json"))
def test_retrieval(path: Path):
    golden = load(path)
    model = model_of(golden.meta, golden.get("state/")).eval()
    owner = golden["in/text_owner"]
    gallery = encode_gallery(model, [batch_of(golden["in/image"], captions=texts_of(golden, owner))])
    pairs = torch.cartesian_prod(torch.arange(len(golden["in/image"])), torch.arange(len(owner)))
    scores = {
        "itc": (gallery.similarity * model.system.temperature).detach(),
        "itm": fused_scores(model.system, model.head("itm"), gallery, pairs).view(-1, len(owner)),
    }
    for kind, table in scores.items():
        name = f"mid/scores_{kind}"
        assert_close(table, golden[name], golden.tolerance_of(name), name)
        recall = retrieval_metrics(table, owner)
        found = torch.tensor([recall[key] for key in golden.meta["order"]])
        assert_close(found, golden[f"out/recall_{kind}"], golden.tolerance_of(f"out/recall_{kind}"), f"recall {kind}")
