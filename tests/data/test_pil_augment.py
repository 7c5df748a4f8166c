"""RandAugment on Pillow: boxes follow, chance comes from the generator alone, strengths; and the middle of a picture."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from vlfuse.data import pil_augment
from vlfuse.data.augment import move_boxes
from vlfuse.data.transforms import DISTORTIONS, EvalTransform, TrainTransform
from vlfuse.types import ConfigError

NEUTRAL = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def extent(picture: np.ndarray) -> torch.Tensor:
    rows, columns = np.nonzero(picture.max(-1) > 100)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", pil_augment.GEOMETRIC)
def test_boxes_follow(name, sign):
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[50:70, 60:100] = 255
    backward = pil_augment.GEOMETRIC[name](sign * pil_augment.strength(name, 7), 160, 120)
    moved = np.asarray(pil_augment.warp(Image.fromarray(pixels), backward))
    boxes = move_boxes(torch.tensor([[60.0, 50.0, 100.0, 70.0]]), pil_augment._forward(backward))
    assert (extent(moved) - boxes[0]).abs().max() <= 1.5


@pytest.mark.parametrize("name", DISTORTIONS)
def test_chance_comes_from_the_generator(name):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    transform = pickle.loads(pickle.dumps(TrainTransform(32, flip=True, distort=DISTORTIONS[name])))  # workers need it
    boxes = torch.tensor([[5.0, 5.0, 30.0, 30.0]])
    first, again = (transform(picture, boxes, np.random.default_rng(4)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    others = [transform(picture, boxes, np.random.default_rng(seed))[0] for seed in range(6)]
    assert any(not torch.equal(first[0], other) for other in others)


def test_mild_is_no_enhancement_at_all():
    """At magnitude 5 of 10 the factors are exactly 1, so two of the ten operations do nothing, as published."""
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)

    class Always:
        def choice(self, names, size):
            return ["Brightness", "Sharpness"]

        def random(self):
            return 0.0

    found, _ = DISTORTIONS["randaugment-mild"](pixels, torch.zeros(0, 4), Always())  # type: ignore[arg-type]
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (40, 40), (41, 90)])
def test_the_middle_of_a_picture(size):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    x, y, half = width // 2, height // 2, 8
    pixels[y - half : y + half, x - half : x + half] = 255
    box = torch.tensor([[x - half, y - half, x + half, y + half], [0, 0, width, height]]).float()
    found, boxes, keep = EvalTransform(20, crop=True, **NEUTRAL)(Image.fromarray(pixels), box, np.random.default_rng(0))
    assert found.shape == (3, 20, 20) and keep.all()
    assert boxes[1].tolist() == [0, 0, 20, 20]
    seen = extent((found.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    assert (seen - boxes[0]).abs().max() <= 1.5


def test_the_middle_is_not_the_whole():
    with pytest.raises(ConfigError, match="exclude each other"):
        EvalTransform(20, keep_aspect=True, crop=True)
