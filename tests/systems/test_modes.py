"""The same numbers in half precision, with recomputed activations, under torch.compile, and after inference mode."""

import shutil
from dataclasses import replace

import pytest
import torch

from tests.contract.sizes import TINY, batch_for, images, tiny_head, tiny_model, tiny_system, tokens
from vlfuse.engine.train import COMPILED
from vlfuse.systems import SYSTEMS
from vlfuse.systems.base import Model

NAMES = sorted(SYSTEMS)


def dropping(name: str) -> Model:
    """A model in which every kind of chance is active."""
    config = TINY[name]
    chance = {"swin": replace(config.swin, drop_path=0.3)} if name == "fiber" else {"dropout": 0.3}
    config = replace(config, text=replace(config.text, dropout=0.2), **chance)
    torch.manual_seed(0)
    system = SYSTEMS[name][0](config)
    return Model(system, {head: tiny_head(system, head) for head in ("mlm", "itc", "itm")}).train()


def step(model: Model) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    losses = model(batch_for("itm"), ("mlm", "itc", "itm"), torch.Generator().manual_seed(2))
    total = sum((result["loss"] for result in losses.values()), torch.zeros(()))
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: result["loss"].detach() for name, result in losses.items()}, gradients


@pytest.mark.parametrize("name", NAMES)
def test_recomputing_activations_changes_nothing(name):
    """Dropout and stochastic depth draw the same in the second pass as in the first."""
    plain, recomputed = dropping(name), dropping(name)
    recomputed.system.set_recompute(True)
    (losses, gradients), (again, other) = step(plain), step(recomputed)
    assert losses == again and gradients.keys() == other.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(other[key], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_recomputing_keeps_fewer_activations(name):
    """The switch reaches the blocks, both ways."""

    def kept(on: bool) -> int:
        system = tiny_system(name).train()
        system.set_recompute(on)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            fused = system.fuse(system.encode_image(images(2)), system.encode_text(tokens(2)))
        assert fused.pooled.requires_grad
        return sum(sizes)

    assert kept(True) < kept(False) / 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_close(name, dtype):
    """Losses and gradients under autocast stay near those in full precision, and everything stays finite."""
    model = tiny_model(name, "mlm", "itc", "itm", "vqa", "nlvr2").train()
    for head in model.heads:
        batch, results = batch_for(head), []
        for on in (False, True):
            model.zero_grad()
            with torch.autocast("cpu", dtype=dtype, enabled=on):
                result = model(batch, (head,), torch.Generator().manual_seed(0))[head]
            assert result["loss"].dtype == torch.float32
            result["loss"].backward()
            gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            assert gradient.isfinite().all()
            results.append((result["loss"].detach(), gradient))
        (full, exact), (half, rough) = results
        torch.testing.assert_close(half, full, atol=0.05, rtol=0.05)
        assert torch.cosine_similarity(exact, rough, dim=0) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_training_after_inference_mode(name):
    """What a pass without gradient leaves behind (buffers, caches of shapes) takes none from the next one."""

    def gradients(before: bool) -> dict[str, torch.Tensor]:
        system = tiny_system(name)
        pictures, text = images(1, 20, 28), tokens(1)
        if before:
            with torch.inference_mode():
                system.fuse(system.encode_image(pictures), system.encode_text(text))
        system.fuse(system.encode_image(pictures), system.encode_text(text)).pooled.square().sum().backward()
        return {key: p.grad for key, p in system.named_parameters() if p.grad is not None}

    found, expected = gradients(before=True), gradients(before=False)
    assert found.keys() == expected.keys() and any(gradient.any() for gradient in found.values())
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key])


@pytest.mark.parametrize("name", NAMES)
def test_steps_that_are_compiled_exist(name):
    assert all(callable(getattr(tiny_system(name), step)) for step in COMPILED)


BACKENDS = [
    pytest.param("aot_eager", id="graph"),
    pytest.param(
        "inductor",
        id="inductor",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="needs a C++ compiler"),
        ],
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_compiled_blocks_give_the_same_numbers(backend):
    """Blocks are what training compiles: one fused block of each side, forward and backward, without a graph break."""
    system = tiny_system("fiber", fuse_last=1)
    image, text = system.encode_image(images(2)), system.encode_text(tokens(2))
    image_block, text_layer = system.image.stages[-1].blocks[-1], system.text.layers[-1]
    layout = system.image.layout(image.grid, image.valid, shifted=True)
    visible = text.mask[:, None, None, :]

    def pair(x, y):
        return image_block(x, layout, y, text.mask), text_layer(y, visible, x, None)

    def run(function) -> list[torch.Tensor]:
        system.zero_grad()
        x, y = (t.detach().requires_grad_() for t in (image.tokens, text.tokens))
        outputs = function(x, y)
        sum(output.square().sum() for output in outputs).backward()
        parameters = [*image_block.parameters(), *text_layer.parameters()]
        return [*outputs, x.grad, y.grad, *(p.grad for p in parameters)]

    torch.compiler.reset()
    for plain, compiled in zip(run(pair), run(torch.compile(pair, backend=backend, fullgraph=True)), strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@torch.no_grad()
def test_a_whole_system_compiles():
    """One size of image; batches and lengths of text may change."""
    swin = replace(TINY["fiber"].swin, depths=(1, 1), heads=(1, 2))
    text_side = replace(TINY["fiber"].text, layers=1)
    system = tiny_system("fiber", swin=swin, text=text_side, fuse_last=1).eval()

    def forward(pictures, text):
        return system.fuse(system.encode_image(pictures), system.encode_text(text)).pooled

    torch.compiler.reset()
    compiled = torch.compile(forward, backend="eager")
    for count, length in ((2, 8), (3, 6)):
        pictures, text = images(count), tokens(count, length)
        torch.testing.assert_close(compiled(pictures, text), forward(pictures, text))
