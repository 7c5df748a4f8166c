"""Pictures and boxes move together."""

import numpy as np
import pytest
import torch
from PIL import Image

from vlfuse.data import augment
from vlfuse.data.transforms import EvalTransform, TrainTransform, random_crop

NEUTRAL = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
NO_BOXES = torch.zeros(0, 4)


def scene(box, size=(90, 60)):
    """A white block on black and its box."""
    picture = Image.new("RGB", size, "black")
    picture.paste((255, 255, 255), box)
    return picture, torch.tensor([box], dtype=torch.float32)


def extent(pixels, threshold=0.5):
    """The box around what is bright in [3, S, S]."""
    rows, columns = torch.nonzero(pixels[0] > threshold, as_tuple=True)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


def test_eval_stretches():
    pixels, boxes, keep = EvalTransform(120, **NEUTRAL)(*scene((30, 15, 60, 45)), np.random.default_rng(0))
    assert pixels.shape == (3, 120, 120)
    torch.testing.assert_close(boxes, torch.tensor([[40.0, 30.0, 80.0, 90.0]]))
    assert (extent(pixels) - boxes[0]).abs().max() <= 1
    assert keep.tolist() == [True]


def test_eval_drops_boxes_outside():
    boxes = torch.tensor([[95.0, 5.0, 99.0, 9.0], [80.0, 50.0, 200.0, 200.0]])
    _, moved, keep = EvalTransform(60)(Image.new("RGB", (90, 60)), boxes, np.random.default_rng(0))
    assert keep.tolist() == [False, True]
    assert moved[1, 2:].tolist() == [60, 60]


@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow_crop_mirror_and_stretch(seed):
    transform = TrainTransform(128, randaugment=False, flip=True, **NEUTRAL)
    pixels, boxes, keep = transform(*scene((30, 15, 62, 43)), np.random.default_rng(seed))
    if keep[0]:
        assert (extent(pixels) - boxes[0]).abs().max() <= 2


@pytest.mark.parametrize("name", augment.GEOMETRIC)
@pytest.mark.parametrize("sign", [1, -1])
def test_boxes_follow_geometric_operations(name, sign):
    picture, boxes = scene((40, 25, 56, 37))
    make, strength = augment.GEOMETRIC[name]
    matrix = make(sign * strength, 90, 60)
    moved = augment.warp(np.asarray(picture), matrix)
    block = torch.from_numpy(moved == 255).all(-1)[None].float()  # the fill is grey
    if name == "Rotate":  # the block's corners are cut in the raster; its box is around the exact ones
        assert (extent(block) - augment.move_boxes(boxes, matrix)[0]).abs().max() <= 2
    else:
        assert (extent(block) - augment.move_boxes(boxes, matrix)[0]).abs().max() <= 1.5


def test_all_chance_comes_from_the_generator():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    transform = TrainTransform(32, flip=True)
    runs = [[transform(image, NO_BOXES, np.random.default_rng(seed))[0] for seed in range(6)] for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(runs[0][0], runs[0][1])


def test_crops_have_the_stated_areas_and_ratios():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x0, y0, x1, y1 = random_crop((300, 200), (0.5, 1.0), (3 / 4, 4 / 3), rng)
        assert 0 <= x0 < x1 <= 300 and 0 <= y0 < y1 <= 200
        assert (x1 - x0) * (y1 - y0) >= 0.49 * 300 * 200
        assert 0.74 <= (x1 - x0) / (y1 - y0) <= 1.35


@pytest.mark.parametrize("size", [(1, 1), (400, 1), (1, 300), (400, 100)])
def test_extreme_pictures(size):
    """No crop of the wanted ratio and area may fit; the largest centred one is taken."""
    image = Image.new("RGB", size, "red")
    for seed in range(5):
        pixels, _, _ = TrainTransform(16, **NEUTRAL)(image, NO_BOXES, np.random.default_rng(seed))
        assert pixels.shape == (3, 16, 16) and pixels.isfinite().all()
    x0, y0, x1, y1 = random_crop((400, 100), (0.5, 1.0), (3 / 4, 4 / 3), np.random.default_rng(0))
    assert (y1 - y0, x1 - x0) == (100, 133) and x0 == 133


def test_operations_on_a_flat_picture():
    flat = np.full((4, 5, 3), 77, dtype=np.uint8)
    for name in ("AutoContrast", "Equalize", "Sharpness"):
        assert np.array_equal(augment.PHOTOMETRIC[name](flat), flat)
    assert augment.sharpness(flat[:2]).shape == (2, 5, 3)


def test_auto_contrast_reaches_both_ends():
    pixels = np.array([[[30, 60, 90]], [[130, 160, 190]]], dtype=np.uint8)
    assert augment.auto_contrast(pixels)[:, 0, 0].tolist() == [0, 255]
