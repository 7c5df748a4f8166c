"""Pictures that keep their shape: areas, boxes, padding in a batch."""

import numpy as np
import pytest
import torch
from PIL import Image

from vlfuse.data.collate import join_pictures
from vlfuse.data.transforms import EvalTransform, same_area


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (64, 64), (3000, 10), (1, 1), (641, 480)])
def test_the_shape_is_kept_and_the_area_is_that_of_the_square(size):
    width, height = same_area(size, 96)
    assert width % 8 == height % 8 == 0
    assert 0.75 < width * height / 96**2 < 1.34
    aspect = min(max(size[0] / size[1], 1 / 8), 8)
    assert 0.7 < (width / height) / aspect < 1.4


def test_boxes_follow_the_picture():
    transform = EvalTransform(96, keep_aspect=True)
    pixels, boxes, keep = transform(
        Image.new("RGB", (400, 100)), torch.tensor([[100.0, 50.0, 200.0, 100.0]]), np.random.default_rng(0)
    )
    assert pixels.shape == (3, 48, 192)
    torch.testing.assert_close(boxes, torch.tensor([[48.0, 24.0, 96.0, 48.0]]))
    assert keep.all()


def test_pictures_of_unlike_shapes_share_a_batch():
    images = join_pictures([torch.ones(3, 8, 24), torch.ones(3, 16, 8)])
    assert images.pixels.shape == (2, 3, 16, 24)
    assert images.sizes.tolist() == [[8, 24], [16, 8]]
    assert images.pixels[0, :, 8:].abs().sum() == 0 and images.pixels.sum() == 3 * (8 * 24 + 16 * 8)
