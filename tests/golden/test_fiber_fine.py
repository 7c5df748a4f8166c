"""FIBER's whole detector against recordings: the fused pyramid, the losses with gradients, and detection."""

from pathlib import Path

import pytest
import tokenizers
import torch
from torch import Tensor

from tests.golden.fiber import module_of
from tests.golden.fiber_fine import detector_of, gradient_of, images_of, label_map, objects_of, tokens_of
from tests.golden.vectors import Tolerance, assert_close, load, vectors
from vlfuse.checkpoints.fiber_fine import COARSE, infer_config, rules
from vlfuse.checkpoints.mapping import Report, rename
from vlfuse.objectives.grounding import Grounding
from vlfuse.systems.base import Model
from vlfuse.systems.fiber import Fiber
from vlfuse.tasks.regions import Keep, find
from vlfuse.types import Batch, Images, Texts, Tokens


def is_coarse(name: str) -> bool:
    return name == "system.temperature" or any(name.startswith(f"system.{part}.") for part in COARSE)


def inner_name(key: str) -> str:
    """Recorded `image_l2_b14` or `image_l2_down` as the names that `module_of` knows."""
    return key.replace("image_l", "image_s").replace("_b", "_block").replace("_down", "_downsample")


@pytest.mark.parametrize("path", vectors("fiber_fine_backbone*.json"))
def test_fused_pyramid(path: Path):
    """Every recorded state on the way: blocks and layers of both sides, the maps after their norms, the levels."""
    golden = load(path)
    config = infer_config(golden.get("state/"), golden.meta["config"]["text_heads"])
    assert config.query_norm == (golden.meta["variant"] == "v3")
    system = Fiber(config)
    head = Grounding(system, width=golden.meta["config"]["fpn_channels"], blocks=0, published=True)
    model = Model(system, {"grounding": head}).eval()
    report = Report()
    found = rename(golden.get("state/"), rules(config), report)
    assert not report.unknown
    start = model.state_dict()
    assert found.keys() <= start.keys()
    assert all(".predictor." in name or is_coarse(name) for name in start.keys() - found.keys())
    model.load_state_dict(start | found)
    names = [key for key in golden.get("mid/") if key.startswith(("image", "text_"))]
    inner: dict[str, Tensor] = {}
    for name in names:
        module = module_of(system, inner_name(name))
        module.register_forward_hook(lambda _m, _i, y, n=name: inner.__setitem__(n, y))
    tokens = tokens_of(golden)
    with torch.no_grad():
        fused = system.fuse_maps(
            system.encode_maps(Images(golden["in/images"], golden["in/image_sizes"])), system.encode_text(tokens)
        )
        maps = [n(x.movedim(1, -1)).movedim(-1, 1) for x, n in zip(fused.maps, head.norms, strict=True)]
        levels = head.pyramid(maps)
    for name in names:
        assert_close(inner[name], golden[f"mid/{name}"], golden.tolerance, name)
    for i, x in enumerate(maps):
        assert_close(x, golden[f"mid/body_stage{i + 3}"], golden.tolerance, f"body_stage{i + 3}")
    for i, x in enumerate(levels):
        assert_close(x, golden[f"out/p{i + 3}"], golden.tolerance, f"p{i + 3}")
    assert_close(fused.text, golden["out/lang_hidden"], golden.tolerance, "lang_hidden")


@pytest.mark.parametrize("path", vectors("fiber_fine_train*.json"))
def test_training(path: Path):
    """Losses, every recorded gradient and the norm of the whole, dropout and stochastic depth off."""
    golden = load(path)
    model = detector_of(golden)
    tokens = tokens_of(golden)
    texts = Texts(tokens, torch.arange(len(tokens)), objects=objects_of(golden))
    losses = model(Batch(images_of(golden), grounding=texts))["grounding"]
    allowed = Tolerance(rtol=golden.meta["tolerance"]["loss_rtol"])
    for name, key in (("box", "reg"), ("centerness", "centerness"), ("tokens", "dot_product_token"), ("loss", "total")):
        assert_close(losses[name], golden[f"out/loss_{key}"], allowed, key)
    losses["loss"].backward()
    for key, expected in golden.get("grad/").items():
        error = (gradient_of(model, key) - expected).norm() / expected.norm()
        assert error < 1e-3, f"grad/{key} is off by {error:.2g} of its norm"
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert_close(
        torch.nn.utils.get_total_norm(gradients), golden["out/grad_norm_all"], Tolerance(rtol=1e-3), "norm of all"
    )
    for key in golden.meta["parameters_with_zero_gradient"]:
        assert not gradient_of(model, key).any(), key


def padded(ids: list[int], length: int, pad: int = 1) -> Tokens:
    row = torch.full((1, length), pad)
    row[0, : len(ids)] = torch.tensor(ids)
    return Tokens(row, torch.arange(length)[None] < len(ids))


@pytest.mark.parametrize("path", vectors("fiber_fine_detect*.json"))
def test_detection(path: Path):
    """Image and prompt to boxes; the picture is padded to whole strides by the model itself."""
    golden = load(path)
    model = detector_of(golden)
    system, head = model.system, model.head("grounding")
    assert isinstance(head, Grounding)
    pixels = golden["in/image"].flip(0)[None]
    words = tokenizers.Tokenizer.from_file(str(path.with_name("fiber_fine_tokenizer.json"))).encode(
        golden.meta["caption"]
    )
    tokens = padded(words.ids, golden.meta["config"]["max_query_len"])
    sizes = torch.tensor([pixels.shape[-2:]])
    rows, numbers = label_map(golden.meta["label_to_tokens"], len(tokens.ids[0]))
    given = golden.meta["postprocess"]
    keep = Keep(given["pre_nms_thresh"], given["pre_nms_top_n"], given["nms_thresh"], given["detections_per_image"])
    with torch.no_grad():
        image, text = system.encode_maps(Images(pixels, sizes)), system.encode_text(tokens)
        (found,) = find(system, head, image, sizes, text, [rows], keep)
    allowed = golden.meta["tolerance"]
    assert len(found) == len(golden["out/scores"])
    assert_close(found.scores, golden["out/scores"], Tolerance(allowed["scores_atol"]), "scores")
    assert_close(found.boxes, golden["out/boxes"], Tolerance(allowed["boxes_atol"]), "boxes")
    assert torch.equal(torch.tensor(numbers)[found.labels], golden["out/labels"])
