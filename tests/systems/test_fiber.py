"""FIBER at the smallest size: states, padding, image sizes, depths of fusion."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.contract.sizes import TINY, images, tiny_system, tokens
from vlfuse.backbones.swin import Swin, SwinConfig
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.types import ConfigError, Fused, Images, Tokens, cat

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=[0, 5], ids=["relative", "absolute"])
def system(request) -> Fiber:
    """Without and with a table of absolute positions."""
    swin = replace(TINY["fiber"].swin, position_grid=request.param)
    return tiny_system("fiber", swin=swin).eval()  # type: ignore[return-value]


def fuse(system: Fiber, pictures: Images, text: Tokens) -> Fused:
    return system.fuse(system.encode_image(pictures), system.encode_text(text))


def padded(pictures: Images, height: int, width: int) -> Images:
    """The same pictures at the top left of a larger frame."""
    missing = (0, width - pictures.pixels.shape[3], 0, height - pictures.pixels.shape[2])
    return Images(F.pad(pictures.pixels, missing), pictures.sizes)


# --- states --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_states_can_be_reused(system):
    """Fusing one image state with many texts equals encoding the image anew for each, and the other way round."""
    pictures, text = images(2), tokens(3)
    image, words = system.encode_image(pictures), system.encode_text(text)
    once = system.fuse(image[[1, 1, 1, 0]], words[[0, 1, 2, 2]])
    anew = [fuse(system, pictures[[i]], text[[j]]) for i, j in ((1, 0), (1, 1), (1, 2), (0, 2))]
    for name in ("pooled", "image", "text"):
        torch.testing.assert_close(getattr(once, name), torch.cat([getattr(f, name) for f in anew]), **CLOSE)


@torch.no_grad()
def test_states_can_be_selected_and_joined(system):
    state = system.encode_image(images(3))
    for index in ([2, 0], torch.tensor([2, 0]), slice(1, 3), torch.tensor([True, False, True])):
        torch.testing.assert_close(state[index].tokens, state.tokens[index])
    again = cat(state[:1], state[1:])
    assert torch.equal(again.tokens, state.tokens) and again.grid == state.grid and len(again) == 3
    with pytest.raises(IndexError, match=r"\[\[1\]\]"):
        state[1]


@torch.no_grad()
def test_embeddings_have_unit_length(system):
    image, text = system.encode_image(images(3)), system.encode_text(tokens(4))
    embeddings = system.project_image(image), system.project_text(text)
    for embedding in embeddings:
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(embedding)))
    torch.testing.assert_close(
        system.similarity(*embeddings), embeddings[0] @ embeddings[1].T / system.temperature.item()
    )


# --- padding ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_padding_of_texts_changes_nothing(system):
    text = tokens(3)
    longer = Tokens(F.pad(text.ids, (0, 4), value=1), F.pad(text.mask, (0, 4)))
    plain, more = fuse(system, images(3), text), fuse(system, images(3), longer)
    torch.testing.assert_close(plain.pooled, more.pooled, **CLOSE)
    torch.testing.assert_close(plain.image, more.image, **CLOSE)
    torch.testing.assert_close(plain.text[text.mask], more.text[longer.mask], **CLOSE)
    projected = [system.project_text(system.encode_text(t)) for t in (text, longer)]
    torch.testing.assert_close(*projected, **CLOSE)


@pytest.mark.parametrize("size", [(40, 40), (44, 36), (37, 63), (64, 50)])
@torch.no_grad()
def test_padding_of_images_changes_nothing(system, size):
    """A picture in a batch with larger ones equals the picture alone: its grids stay larger than the window at every stage."""
    alone, text = images(2, *size), tokens(2)
    wide = fuse(system, padded(alone, 64, 64), text)
    state = system.encode_image(padded(alone, 64, 64))
    one = fuse(system, alone, text)
    torch.testing.assert_close(one.pooled, wide.pooled, **CLOSE)
    torch.testing.assert_close(one.text, wide.text, **CLOSE)
    projected = system.project_image(system.encode_image(alone))
    torch.testing.assert_close(projected, system.project_image(state), **CLOSE)


@torch.no_grad()
def test_what_stands_in_the_padding_is_never_looked_at(system):
    small = padded(images(1, 40, 48), 64, 64)
    noise = small.pixels.clone()
    noise[:, :, 40:] = 9.0
    noise[:, :, :, 48:] = 9.0
    found = fuse(system, Images(noise, small.sizes), tokens(1))
    torch.testing.assert_close(found.pooled, fuse(system, small, tokens(1)).pooled, **CLOSE)


@torch.no_grad()
def test_batch_order_and_company_do_not_matter(system):
    pictures, text = images(4), tokens(4)
    order = [2, 0, 3, 1]
    whole = fuse(system, pictures, text).pooled
    torch.testing.assert_close(fuse(system, pictures[order], text[order]).pooled, whole[order], **CLOSE)
    torch.testing.assert_close(fuse(system, pictures[[2]], text[[2]]).pooled, whole[[2]], **CLOSE)


# --- any image size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (5, 7), (23, 24), (24, 25), (64, 8), (96, 33)])
def test_any_image_size_works(system, size):
    fused = fuse(system.train(), images(2, *size), tokens(2))
    fused.pooled.sum().backward()
    gradient = system.image.patch_embed.proj.weight.grad
    assert fused.pooled.isfinite().all() and gradient is not None and gradient.isfinite().all() and gradient.any()


@torch.no_grad()
def test_a_picture_smaller_than_a_patch_is_padded_to_one(system):
    pixels = images(1, 1, 1)
    torch.testing.assert_close(
        fuse(system, pixels, tokens(1)).pooled,
        fuse(system, Images(F.pad(pixels.pixels, (0, 3, 0, 3)), torch.tensor([[4, 4]])), tokens(1)).pooled,
        **CLOSE,
    )


# --- depth of fusion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fuse_last", [1, 2, 3])
def test_any_depth_of_fusion(fuse_last):
    """Both sides of every pair own a gate that learns, and each side notices the other."""
    system = tiny_system("fiber", fuse_last=fuse_last)
    fused = fuse(system, images(2), tokens(2))
    fused.pooled.square().sum().backward()
    gates = [name for name, p in system.named_parameters() if name.endswith("cross.gate") and p.grad is not None]
    assert len(gates) == 2 * fuse_last
    other_text = fuse(system, images(2), tokens(2, seed=5))
    assert not torch.allclose(other_text.image, fused.image)
    other_image = fuse(system, images(2, seed=5), tokens(2))
    assert not torch.allclose(other_image.text, fused.text)


def test_closed_gates_leave_the_backbones_unchanged():
    """With every gate at 0 the published start is two separate backbones: the image side does not notice the text."""
    system = tiny_system("fiber", gate=0.0, image_gate=0.0).eval()
    one, other = fuse(system, images(1), tokens(1)), fuse(system, images(1), tokens(1, seed=3))
    torch.testing.assert_close(one.image, other.image)


@pytest.mark.parametrize("fuse_last", [0, -1, 4, 99])
def test_impossible_depths_are_refused(fuse_last):
    with pytest.raises(ConfigError, match=rf"fuse_last is {fuse_last}.*1\.\.3"):
        replace(TINY["fiber"], fuse_last=fuse_last)


def test_wrong_widths_are_refused():
    config = FiberConfig()
    with pytest.raises(ConfigError, match="multiple of 7 heads"):
        replace(config.swin, heads=(4, 8, 7, 32))
    with pytest.raises(ConfigError, match="same stages"):
        replace(config.swin, depths=(2, 2))
    with pytest.raises(ConfigError, match=r"text\.heads 5"):
        replace(config.text, heads=5)


def test_too_long_a_text_names_the_limit(system):
    with pytest.raises(ConfigError, match=f"exceeds the {system.max_tokens} positions"):
        system.encode_text(tokens(1, length=system.max_tokens + 1))


def test_roles_name_the_reference_groups(system):
    roles = {name: system.role(name) for name, _ in system.named_parameters()}
    backbones = {
        name for name in roles if ".cross." not in name and name.startswith(("image.", "text.", "temperature"))
    }
    assert {name for name, role in roles.items() if role != "cross"} == backbones
    assert {name for name, role in roles.items() if role == "image"} == {n for n in backbones if n.startswith("image.")}
    assert set(roles.values()) == {"base", "image", "cross"}


def test_a_stem_of_convolutions_makes_the_same_grid_as_a_matrix():
    pixels, sizes = torch.randn(2, 3, 40, 24), torch.tensor([[40, 24]] * 2)
    swin = {"embed_dim": 16, "depths": (1, 1), "heads": (2, 2), "window": 4, "patch": 4}
    grids = [Swin(SwinConfig(**swin, stem=stem)).embed(pixels, sizes)[1] for stem in ("patch", "convolution")]
    assert grids == [(10, 6), (10, 6)]


def test_a_stem_of_convolutions_needs_a_patch_it_can_reach():
    with pytest.raises(ConfigError, match="power of 2"):
        SwinConfig(patch=6, stem="convolution")
