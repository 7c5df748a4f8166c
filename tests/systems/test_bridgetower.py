"""What holds of BridgeTower whatever its weights: reuse, order, resolution, padding, bridges, the two pictures of a pair."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from tests.contract.sizes import TINY, images, tiny_model, tiny_system, tokens
from vlfuse.backbones.vit import ViTConfig
from vlfuse.fusion.bridge import MIXES, BridgeKind
from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig
from vlfuse.types import ConfigError, Images, cat

KINDS = get_args(BridgeKind)


def system_of(**changes) -> BridgeTower:
    return tiny_system("bridgetower", **changes).eval()  # type: ignore[return-value]


def test_every_kind_of_bridge_is_built():
    assert set(MIXES) | {"none"} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_bridges_carry_every_kept_level(kind):
    """The result depends on each kept level of both backbones; without bridges on the last alone."""
    system = system_of(bridge=kind, layers=3)
    image, text = system.encode_image(images(2)), system.encode_text(tokens(2))
    assert len(image.levels) == len(text.levels) == (1 if kind == "none" else 3)
    whole = system.pooled(image, text)
    for side in (image, text):
        for number, level in enumerate(side.lower):
            if number == 0:
                continue  # it entered through the opening
            lower = tuple(torch.randn_like(x) if i == number else x for i, x in enumerate(side.lower))
            changed = replace(side, lower=lower)
            assert level.shape == side.tokens.shape
            pair = (changed, text) if side is image else (image, changed)
            assert not torch.allclose(system.pooled(*pair), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_is_that_of_the_whole(kind):
    """Leaving out what the poolers do not read changes neither the result nor a gradient."""
    system = system_of(bridge=kind)
    results = []
    for way in ("fuse", "pooled"):
        system.zero_grad()
        image, text = system.encode_image(images(3)), system.encode_text(tokens(3))
        pooled = system.fuse(image, text).pooled if way == "fuse" else system.pooled(image, text)
        (pooled * torch.linspace(-1, 1, pooled.numel()).view_as(pooled)).sum().backward()
        grads = {name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None}
        results.append((pooled.detach(), grads))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=1e-5)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_states_can_be_reused():
    """One image with many texts, and many with one, equal passes of their own."""
    system = system_of()
    pictures, captions = images(3), tokens(4)
    image, text = system.encode_image(pictures), system.encode_text(captions)
    once = system.fuse(image[[0] * 4], text)
    for i in range(4):
        anew = system.fuse(system.encode_image(pictures[:1]), system.encode_text(captions[i : i + 1]))
        torch.testing.assert_close(once.pooled[i : i + 1], anew.pooled, atol=1e-6, rtol=1e-5)
    joined = cat(image[:1], image[1:])
    torch.testing.assert_close(system.pooled(joined, text[:3]), system.pooled(image, text[:3]))


def test_room_for_padding_changes_nothing():
    system = system_of()
    image, text = system.encode_image(images(3)), system.encode_text(tokens(3))
    longer = text.with_length(13)
    assert longer.mask.shape == (3, 13) and longer.lower[0].shape[1] == longer.opening.shape[1] == 13
    torch.testing.assert_close(system.pooled(image, longer), system.pooled(image, text), atol=1e-6, rtol=1e-5)
    back = longer.with_length(int(text.mask.sum(1).max()))
    torch.testing.assert_close(system.pooled(image, back), system.pooled(image, text), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (19, 33)])
def test_a_picture_in_a_padded_batch_is_what_it_is_alone(size):
    """Any resolution, any shape; positions are those of the picture, padding is never looked at."""
    system = system_of()
    alone = images(1, *size, seed=3)
    pixels = torch.zeros(2, 3, 40, 48)
    pixels[0, :, : size[0], : size[1]] = alone.pixels[0]
    pixels[1] = torch.randn(3, 40, 48)
    together = system.encode_image(Images(pixels, torch.tensor([size, (40, 48)])))
    single = system.encode_image(alone)
    text = system.encode_text(tokens(1))
    assert together.valid is not None and single.valid is None
    torch.testing.assert_close(
        system.fuse(together[:1], text).pooled, system.fuse(single, text).pooled, atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(system.project_image(together[:1]), system.project_image(single), atol=1e-6, rtol=1e-5)


def test_the_second_picture_has_a_type_of_its_own():
    system = system_of()
    image, text = system.encode_image(images(2)), system.encode_text(tokens(2))
    second = system.as_picture(image, 1)
    torch.testing.assert_close(system.pooled(second, text), system.pooled(image, text))  # they start alike
    with torch.no_grad():
        system.token_types.weight[2] += torch.randn(16)  # the same in every channel would fall to the norms
    assert not torch.allclose(system.pooled(system.as_picture(image, 1), text), system.pooled(image, text))


def test_where_texts_look():
    """One look for each layer, over the picture's own patches; the attention that is looked up is the one that fuses."""
    system = system_of()
    image, text = system.encode_image(images(2)), system.encode_text(tokens(2))
    looks = system.looks(image, text)
    assert len(looks) == system.config.layers and looks[0].grid == image.grid
    for look in looks:
        assert look.weights.shape == (2, text.mask.shape[1], image.grid[0] * image.grid[1])
        torch.testing.assert_close(look.weights.sum(-1), torch.ones(look.weights.shape[:2]))
    attention, context = system.text_layers[0].cross, torch.randn(2, 5, 16)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    weights = attention.look(text.opening, context, mask)
    assert not weights[1, :, 2:].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))


def test_recomputing_changes_no_gradient():
    model = tiny_model("bridgetower", "itm").train()
    system = model.system
    gradients = []
    for on in (False, True):
        system.set_recompute(on)
        system.zero_grad()
        system.fuse(system.encode_image(images(2)), system.encode_text(tokens(2))).pooled.sum().backward()
        gradients.append({name: p.grad for name, p in system.named_parameters() if p.grad is not None})
        system.zero_grad(set_to_none=True)
    assert system.recompute and gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_published_sizes():
    """Source: the official definitions, everything without heads at the resolution of pre-training; there the poolers of RoBERTa
    and parts of CLIP's text side ride along unused, here the contrastive projections and the second picture's type are there."""
    for width, layers, patch, size, unused, published in (
        (768, 12, 16, 288, 77 * 512 + 2 * 512, 326_387_457),
        (1024, 24, 14, 294, 77 * 768 + 2 * 768, 864_574_721),
    ):
        heads = width // 64
        text = replace(BridgeTowerConfig().text, width=width, layers=layers, heads=heads, intermediate=4 * width)
        with torch.device("meta"):
            image = ViTConfig(width, layers, heads, patch, size)
            system = BridgeTower(BridgeTowerConfig(image, text, width=width, heads=heads, intermediate=4 * width))
        own = sum(p.numel() for p in system.parameters())
        projections = 2 * (width * 256 + 256)
        assert own - projections - width == published - unused - (width * width + width)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViTConfig(width=10, heads=3), "10 is not a multiple of image.heads 3"),
        (lambda: ViTConfig(image_size=100), "multiple of the patch, 16"),
        (lambda: ViTConfig(patch=14, image_size=28, stem="convolution"), "power of 2"),
        (lambda: replace(TINY["bridgetower"], layers=4), r"layers is 4; it must lie in 1..3"),
        (lambda: replace(TINY["bridgetower"], heads=3), "width 16 is not a multiple of heads 3"),
        (lambda: system_of().project_pair(torch.zeros(1, 32)), "does not embed pairs"),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_from_nothing_cross_modal_tokens_start_looking_at_themselves():
    """Then what they ask the other stream differs from token to token."""
    x = torch.nn.functional.layer_norm(torch.randn(64, 5, 16), (16,))

    def own_share(init) -> float:
        layer = system_of(init=init).text_layers[0]
        return float(layer.attention.look(x, x, None).diagonal(dim1=1, dim2=2).detach().mean())

    assert own_share("published") == pytest.approx(1 / 5, abs=0.02)
    assert own_share("scratch") > 2 / 5
