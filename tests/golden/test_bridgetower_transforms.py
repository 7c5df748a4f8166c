"""BridgeTower's image transforms and augmentation operations, as recorded."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden.vectors import Tolerance, assert_close, load, vectors
from vlfuse.checkpoints.folder import CLIP_MEAN, CLIP_STD
from vlfuse.data import augment, pil_augment
from vlfuse.data.transforms import EvalTransform

NO_BOXES = torch.zeros(0, 4)


@pytest.mark.parametrize("path", vectors("bridgetower_transforms*.json"))
def test_eval_transforms(path):
    """`clip` shows the middle of a picture, `blip` all of it, stretched; transparency is dropped as recorded."""
    golden = load(path)
    for key, expected in golden.get("out/image").items():
        number, kind = key.split("_")
        pixels = golden[f"in/image{number}"].numpy()
        image = Image.fromarray(pixels)
        if kind == "clip" and pixels.shape[-1] == 3:
            image = image.convert("RGBA")
        if kind == "blip":
            image = image.convert("RGB")
        transform = EvalTransform(golden.meta["size"], CLIP_MEAN, CLIP_STD, crop=kind == "clip")
        found, _, _ = transform(image, NO_BOXES, np.random.default_rng(0))
        assert_close(found, expected, Tolerance(1e-5), f"image{key}")


@pytest.mark.parametrize("path", vectors("bridgetower_transforms*.json"))
def test_operations_on_pillow(path):
    golden = load(path)
    image = Image.fromarray(golden["in/aug_image"].numpy())
    cases = {case: value for case, value in golden.meta["op_values"].items() if case.startswith("pil_m")}
    for case, value in cases.items():
        _, magnitude, name = case.split("_", 2)
        assert pil_augment.strength(name, int(magnitude[1:])) == pytest.approx(value)
        if name in pil_augment.PHOTOMETRIC:
            moved = pil_augment.PHOTOMETRIC[name](image, value)
        else:
            moved = pil_augment.warp(image, pil_augment.GEOMETRIC[name](value, *image.size))
        assert_close(torch.from_numpy(np.array(moved)), golden[f"out/{case}"], Tolerance(), case)


@pytest.mark.parametrize("path", vectors("bridgetower_transforms*.json"))
def test_operations_as_of_opencv(path):
    golden = load(path)
    pixels = golden["in/aug_image"].numpy()
    cases = {case: value for case, value in golden.meta["op_values"].items() if case.startswith("cv_m")}
    for case, value in cases.items():
        name = case.split("_")[2]
        if name in augment.PHOTOMETRIC:
            moved = augment.PHOTOMETRIC[name](pixels, *value)
        else:
            make, _ = augment.GEOMETRIC[name]
            moved = augment.warp(pixels, make(value[0], pixels.shape[1], pixels.shape[0]))
        assert_close(torch.from_numpy(moved), golden[f"out/{case}"], Tolerance(2.0), case)
