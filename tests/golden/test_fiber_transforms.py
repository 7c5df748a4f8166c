"""FIBER's image transforms and augmentation operations, bit for bit where they are integers."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden.vectors import Tolerance, assert_close, load, vectors
from vlfuse.data import augment
from vlfuse.data.transforms import EvalTransform


@pytest.mark.parametrize("path", vectors("fiber_coarse_transforms*.json"))
def test_eval_transform(path):
    golden = load(path)
    for key in golden.get("out/resize"):
        name, size = re.fullmatch(r"(\d+)\.size(\d+)", key).groups()
        image = Image.fromarray(golden[f"in/resize{name}.rgb_hwc"].numpy())
        pixels, _, _ = EvalTransform(int(size))(image, torch.zeros(0, 4), np.random.default_rng(0))
        assert_close(pixels, golden[f"out/resize{key}"], Tolerance(atol=1e-5), f"resize{key}")


@pytest.mark.parametrize("path", vectors("fiber_coarse_transforms*.json"))
def test_augmentation_operations(path):
    golden = load(path)
    pixels = golden["in/aug.rgb_hwc"].numpy()
    for case, arguments in golden.meta["op_arguments"].items():
        name = case.split("_")[0]
        if name == "AutoContrast":  # the recording shows the reference's 8-bit wrap-around
            moved = augment.auto_contrast(pixels, wrapping=True)
        elif name in augment.PHOTOMETRIC:
            moved = augment.PHOTOMETRIC[name](pixels, *arguments)
        else:
            make, _ = augment.GEOMETRIC[name]
            moved = augment.warp(pixels, make(arguments[0], pixels.shape[1], pixels.shape[0]))
        assert_close(torch.from_numpy(moved), golden[f"out/aug.{case}"], Tolerance(), case)
