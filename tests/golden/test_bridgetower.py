"""The whole of BridgeTower against recordings of the published training and evaluation code: forward, losses, gradients."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden.bridgetower import assert_gradients, model_of, stated
from tests.golden.fiber import batch_of, images_of, learn, pairs_of, recorded_logits, texts_of, tokens_of
from tests.golden.vectors import Tolerance, Vectors, assert_close, load, vectors
from vlfuse.metrics.retrieval import retrieval_metrics
from vlfuse.objectives.itc import contrastive_loss
from vlfuse.systems.base import Model, States
from vlfuse.tasks.retrieval import encode_gallery, fused_scores, fused_where, top
from vlfuse.types import cat

NOWHERE = -100.0  # what the published evaluation gives pairs that were not re-ranked


def assert_outputs(golden: Vectors, outputs: dict[str, Tensor], prefix: str = "out/") -> None:
    for name, found in outputs.items():
        expected = golden[prefix + name]
        assert_close(found.reshape(expected.shape), expected, stated(golden), prefix + name)


def insides(model: Model, image, text) -> dict[str, Tensor]:
    """Every recorded intermediate value, by running the backbones and the cross-modal layers one by one."""
    system = model.system
    found: dict[str, Tensor] = {}
    x, _, _ = system.image.embed(image.pixels, image.sizes)
    found["vit_ln_pre"] = x
    kept = []
    for number in range(system.config.image.layers):
        x = system.image.block(number, x, None)
        found[f"vit_block_{number}"] = x
        kept.append(system.image.norm_post(x))
    found["vit_all_layers_ln_post"] = torch.stack(kept)
    y = found["text_embeddings"] = system.text.embeddings(text.ids)
    for number in range(system.config.text.layers):
        y = found[f"text_layer_{number}"] = system.text.layer(number, y, text.mask)
    a, b = system.encode_image(image), system.encode_text(text)
    x, y = None, None
    for number in range(system.config.layers):
        names = ("cross_{}_input_0", 0) if number == 0 else ("link_{}_{}", number - 1)
        found[names[0].format("image", names[1])] = system._image_input(a, number, x)
        found[names[0].format("text", names[1])] = system._text_input(b, number, y)
        x, y = system._layer(number, a, b, x, y, False)
        found[f"cross_image_layer_{number}"], found[f"cross_text_layer_{number}"] = x, y
    return found


@pytest.mark.parametrize("path", vectors("bridgetower_forward*.json"))
def test_forward(path: Path):
    golden = load(path)
    model = model_of(golden).eval()
    system, mlm, itm = model.system, model.head("mlm"), model.head("itm")
    image, text = images_of(golden["in/image"]), tokens_of(golden["in/text_ids"], golden["in/text_masks"])
    masked = tokens_of(golden["in/text_ids_mlm"], golden["in/text_masks"])
    image_state, text_state = system.encode_image(image), system.encode_text(text)
    fused, hidden = system.fuse(image_state, text_state), system.fuse(image_state, system.encode_text(masked))
    mlm_logits = mlm.logits(hidden.text)
    judged = itm.judge(system, image_state, text_state, golden["in/itm_labels"])
    outputs = {
        "text_feats": fused.text,
        "image_feats": fused.image,
        "cls_feats": fused.pooled,
        "mlm_text_feats": hidden.text,
        "mlm_logits": mlm_logits,
        "itm_logits": itm.classifier(fused.pooled),
        "loss_itm": judged["loss"],
        "loss_mlm": F.cross_entropy(mlm_logits.flatten(0, 1), golden["in/text_labels_mlm"].flatten()),
    }
    assert_outputs(golden, outputs)
    assert_close(system.pooled(image_state, text_state), golden["out/cls_feats"], stated(golden), "pooled")
    found = insides(model, image, text)
    recorded = golden.get("mid/")
    del recorded["text_position_ids"]
    assert recorded.keys() == recorded.keys() & found.keys(), f"not compared: {recorded.keys() - found.keys()}"
    for name, expected in recorded.items():
        assert_close(found[name], expected, stated(golden), f"mid/{name}")


@pytest.mark.parametrize("path", vectors("bridgetower_pretrain_step*.json"))
def test_pretraining_step(path: Path):
    golden = load(path)
    model = model_of(golden).train()
    system = model.system
    captions = texts_of(golden, masked_ids=golden["in/text_ids_mlm"], mask_labels=golden["in/text_labels_mlm"])
    batch = batch_of(golden["in/image"], captions=captions)
    states = States(system, batch)
    with recorded_logits(model, "mlm") as mlm_logits:
        mlm = model.head("mlm")(system, states, batch)
    labels = golden["in/itm_labels"]
    shown = torch.where(labels.bool()[:, None, None, None], golden["in/image"], golden["in/false_image"])
    with recorded_logits(model, "itm") as itm_logits:
        image = system.encode_image(images_of(shown))
        itm = model.head("itm").judge(system, image, states.text("captions"), labels)
    total = mlm["loss"] + itm["loss"]
    total.backward()
    asked = golden["in/text_labels_mlm"] >= 0
    assert_close(mlm_logits[0], golden["out/mlm_logits"][asked], stated(golden), "mlm_logits")
    outputs = {"loss_mlm": mlm["loss"], "loss_itm": itm["loss"], "loss_total": total, "itm_logits": itm_logits[0]}
    assert_outputs(golden, outputs | {"mlm_accuracy": mlm["accuracy"], "itm_accuracy": itm["accuracy"]})
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("bridgetower_vqa.json", "bridgetower_vqa_[!a]*.json"))
def test_question_answering(path: Path):
    golden = load(path)
    model = model_of(golden).train()
    target = torch.zeros_like(golden["in/vqa_targets"])
    for row, (labels, scores) in enumerate(zip(golden.meta["vqa_labels"], golden.meta["vqa_scores"], strict=True)):
        target[row, labels] = torch.tensor(scores)
    assert torch.equal(target, golden["in/vqa_targets"])
    batch = batch_of(golden["in/image"], questions=texts_of(golden, target=target))
    result, logits = learn(model, batch, "vqa")
    assert_close(result["loss"], golden["out/loss_vqa"], Tolerance(rtol=1e-5), "loss_vqa")
    assert_outputs(golden, {"vqa_logits": logits, "vqa_score": result["score"]})
    assert_gradients(golden, model)


@pytest.mark.parametrize("path", vectors("bridgetower_nlvr2*.json"))
def test_reasoning_over_pairs(path: Path):
    golden = load(path)
    model = model_of(golden).train()
    batch = pairs_of(golden, golden["in/labels"])
    result, logits = learn(model, batch, "nlvr2")
    assert_outputs(golden, {"nlvr2_logits": logits, "loss_nlvr2": result["loss"]})
    assert_gradients(golden, model)
    system = model.eval().system
    text = system.encode_text(batch.statements.tokens)
    for number in (0, 1):
        image = system.as_picture(system.encode_image(images_of(golden[f"in/image_{number}"])), number)
        name = f"mid/cls_feats_{number + 1}"
        assert_close(system.fuse(image, text).pooled, golden[name], stated(golden), name)


@pytest.mark.parametrize("path", vectors("bridgetower_snli*.json"))
def test_entailment(path: Path):
    """Our labels count the other way round; the importer turned the classifier's rows."""
    golden = load(path)
    model = model_of(golden).train()
    statements = texts_of(golden, target=2 - golden["in/labels"])
    batch = batch_of(golden["in/image"], statements=statements)
    result, logits = learn(model, batch, "entailment")
    assert_outputs(golden, {"snli_logits": logits.flip(1), "loss_snli": result["loss"]})
    assert_gradients(golden, model)
    system = model.eval().system
    pooled = system.pooled(system.encode_image(batch.images), system.encode_text(statements.tokens))
    assert_close(pooled, golden["mid/cls_feats_1"], stated(golden), "mid/cls_feats_1")


# --- retrieval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["pretrain", "finetune"])
@pytest.mark.parametrize("path", vectors("bridgetower_retrieval*.json"))
def test_contrastive_and_matching_losses(path: Path, variant: str):
    """Soft targets are images that occur more than once in the batch; negatives are the recorded draws."""
    golden = load(path)
    model = model_of(golden).train()
    system, itm = model.system, model.head("itm")
    image = system.encode_image(images_of(golden["in/image"]))
    text = system.encode_text(tokens_of(golden["in/text_ids"], golden["in/text_masks"]))
    image_embedding, text_embedding = system.project_image(image), system.project_text(text)
    logits = system.similarity(image_embedding, text_embedding)
    index = golden["in/img_index"] if variant == "finetune" else torch.arange(len(logits))
    positives = index[:, None] == index[None, :]
    itc = (contrastive_loss(logits, positives).mean() + contrastive_loss(logits.T, positives).mean()) / 2
    negative_image = golden[f"mid/{variant}_neg_image_idx"]
    negative_text = golden[f"mid/{variant}_neg_text_idx"]
    images, texts = cat(image, image[negative_image], image), cat(text, text, text[negative_text])
    with recorded_logits(model, "itm") as itm_logits:
        judged = itm.judge(system, images, texts, golden[f"out/{variant}_itm_labels"].long())
    (itc + judged["loss"]).backward()
    outputs = {
        f"loss_{variant}_itc": itc,
        f"loss_{variant}_itm": judged["loss"],
        f"{variant}_itm_logits": itm_logits[0],
    }
    assert_outputs(golden, outputs | {"itc_image": image_embedding, "itc_text": text_embedding})
    for side, table in (("i2t", logits), ("t2i", logits.T)):
        weights = table.softmax(1).masked_fill(positives, 0)
        assert_close(weights, golden[f"mid/{variant}_weights_{side}"], stated(golden), f"weights {side}")
        drawn = negative_text if side == "i2t" else negative_image
        assert not positives[torch.arange(len(drawn)), drawn].any()
    assert_gradients(golden, model, f"grad/{variant}/", f"grad_norms_{variant}", f"params_without_grad_{variant}")


@pytest.mark.parametrize("path", vectors("bridgetower_retrieval*.json"))
def test_states_and_reuse(path: Path):
    """The cached six-level stacks, and one state fused with many of the other kind."""
    golden = load(path)
    model = model_of(golden).eval()
    system = model.system
    image = system.encode_image(images_of(golden["in/image"]))
    text = system.encode_text(tokens_of(golden["in/text_ids"], golden["in/text_masks"]))
    assert_outputs(
        golden,
        {
            "image_embedss": torch.stack(image.levels),
            "text_embedss": torch.stack(text.levels),
            "cls_feats": system.pooled(image, text),
            "cls_text1_all_images": system.pooled(image, text[[1] * len(image)]),
            "cls_one_image_all_texts": system.pooled(image[[0] * len(text)], text),
        },
    )


@pytest.mark.parametrize("path", vectors("bridgetower_retrieval*.json"))
def test_reranking(path: Path):
    golden = load(path)
    model = model_of(golden).eval()
    owner, wanted = golden["in/eval_text_image_index"], golden.meta["config"]["k_test"]
    texts = texts_of(golden, owner, ids="in/eval_text_ids")
    gallery = encode_gallery(model, [batch_of(golden["in/eval_images"], captions=texts)])
    by_image, by_text = top(gallery.similarity, wanted), top(gallery.similarity.T, wanted).T
    fused = fused_where(by_image | by_text, model.system, model.head("itm"), gallery)[..., 1]
    image_scores = fused.masked_fill(~by_image, NOWHERE)
    text_scores = fused.masked_fill(~by_text, NOWHERE)
    scores = torch.maximum(image_scores, text_scores)
    assert_outputs(golden, {"eval_i2t_scores": image_scores, "eval_t2i_scores": text_scores, "eval_scores": scores})
    assert_recalls(golden, scores, owner, "eval_recalls")


@pytest.mark.parametrize("path", vectors("bridgetower_retrieval*.json"))
def test_ranking_by_texts(path: Path):
    """The ranking head begins as a row of the matching head, and is that row here: loss, scores, full evaluation."""
    golden = load(path)
    model = model_of(golden)
    system, itm = model.system, model.head("itm")
    ids, mask = golden["in/irtr_text_ids"], golden["in/irtr_text_masks"]
    count, candidates = ids.shape[:2]
    text = system.encode_text(tokens_of(ids.flatten(0, 1), mask.flatten(0, 1)))
    image = system.encode_image(images_of(golden["in/image"][:count]))
    order = torch.arange(count * candidates).view(count, candidates)
    rearranged = text[torch.cat([order[:, 0], order[:, 1:].flatten()])]
    false = torch.arange(count, count * candidates).view(count, candidates - 1)
    assert_outputs(golden, {"loss_irtr": itm.rank(system, image, rearranged, false)["loss"]})
    scores = itm.scores(system, image[torch.arange(count).repeat_interleave(candidates)], text)
    assert_outputs(golden, {"irtr_scores": scores})
    owner = golden["in/eval_text_image_index"]
    texts = texts_of(golden, owner, ids="in/eval_text_ids")
    gallery = encode_gallery(model, [batch_of(golden["in/eval_images"], captions=texts)])
    pairs = torch.cartesian_prod(torch.arange(len(golden["in/eval_images"])), torch.arange(len(owner)))
    table = fused_scores(system, itm, gallery, pairs).view(-1, len(owner))
    assert_outputs(golden, {"eval_full_rank_scores": table})
    assert_recalls(golden, table, owner, "eval_full_rank_recalls")


def assert_recalls(golden: Vectors, scores: Tensor, owner: Tensor, name: str) -> None:
    found = retrieval_metrics(scores, owner)
    means = {f"{side}_mean": sum(found[f"{side}_r{k}"] for k in (1, 5, 10)) / 3 for side in ("ir", "tr")}
    found |= means | {"r_mean": sum(means.values()) / 2}
    recalls = torch.tensor([found[key] for key in golden.meta["recall_order"]])
    assert_close(recalls, golden[f"out/{name}"], Tolerance(1e-6), name)
