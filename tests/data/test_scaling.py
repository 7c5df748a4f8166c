"""Sizes, crops and mirrors: the boxes stay on their things."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_transforms import NEUTRAL, extent, scene
from vlfuse.data.scaling import ScaleTransform, scaled_size, whole_boxes_crop


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((640, 480), 800, 1333, (1066, 800)),
        ((480, 640), 800, 1333, (800, 1066)),
        ((100, 1000), 800, 1333, (133, 1330)),
        ((1, 5000), 480, 800, (1, 800)),
        ((1, 1), 32, 64, (32, 32)),
    ],
)
def test_sizes(size, short, longest, expected):
    assert scaled_size(size, short, longest) == expected


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow(seed, mirrored):
    transform = ScaleTransform((60, 90, 120), 200, crop=True, **NEUTRAL)
    pixels, boxes, keep = transform(*scene((30, 15, 62, 43)), np.random.default_rng(seed), mirrored)
    assert keep.tolist() == [True] and min(pixels.shape[1:]) in (60, 90, 120)
    assert (extent(pixels) - boxes[0]).abs().max() <= 2


def test_a_mirror_is_exact():
    image, boxes = scene((30, 15, 62, 43))
    plain = ScaleTransform((60,), 90, **NEUTRAL)(image, boxes, np.random.default_rng(0))
    turned = ScaleTransform((60,), 90, **NEUTRAL)(image, boxes, np.random.default_rng(0), mirrored=True)
    assert torch.equal(plain[0].flip(2), turned[0])
    assert turned[1].tolist() == [[28, 15, 60, 43]]


def test_a_crop_cuts_no_box_and_holds_one():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = rng.uniform(0, 80, (int(rng.integers(0, 5)), 2))
        boxes = torch.from_numpy(np.concatenate([low, low + rng.uniform(1, 20, low.shape)], axis=1)).view(-1, 4)
        x0, y0, x1, y1 = part = whole_boxes_crop((100, 100), boxes, (0.1, 0.6), (0.5, 2.0), rng)
        assert 0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 100
        inside = [x0 <= a and y0 <= b and c <= x1 and d <= y1 for a, b, c, d in boxes.tolist()]
        # Whole pixels: an edge may reach less than one into a box that is left out.
        apart = [c <= x0 + 1 or d <= y0 + 1 or a >= x1 - 1 or b >= y1 - 1 for a, b, c, d in boxes.tolist()]
        assert all(i or o for i, o in zip(inside, apart, strict=True)), part
        assert not len(boxes) or any(inside)


def test_boxes_beyond_the_picture():
    boxes = torch.tensor([[-5.0, -5, 30, 30], [95, 5, 99, 9], [40, 20, 40, 50]])
    _, moved, keep = ScaleTransform((60,), 90, crop=True)(Image.new("RGB", (90, 60)), boxes, np.random.default_rng(1))
    assert keep.tolist() == [True, False, False] and moved[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("size", [(1, 1), (500, 1), (1, 300)])
def test_extreme_pictures(size):
    for seed in range(5):
        transform = ScaleTransform((16, 32), 64, crop=True)
        pixels, boxes, keep = transform(Image.new("RGB", size, "red"), torch.zeros(0, 4), np.random.default_rng(seed))
        assert pixels.isfinite().all() and min(pixels.shape[1:]) >= 1 and max(pixels.shape[1:]) <= 64
        assert boxes.shape == (0, 4) and keep.shape == (0,)


def test_published_habits():
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    plain = ScaleTransform((2,), 2)(image, torch.zeros(0, 4), np.random.default_rng(0))[0]
    swapped = ScaleTransform((2,), 2, bgr=True)(image, torch.zeros(0, 4), np.random.default_rng(0))[0]
    assert torch.equal(plain.flip(0), swapped)
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 2]])
    _, moved, keep = ScaleTransform((2,), 2, inclusive=True)(image, boxes, np.random.default_rng(0))
    assert moved[0].tolist() == [0, 0, 1, 1] and keep.tolist() == [True, False]
