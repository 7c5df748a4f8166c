"""Deformable convolution: without deformation a convolution; gradients against differences."""

import pytest
import torch
import torch.nn.functional as F

from vlfuse.ops.deform import deform_conv2d


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.double)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (1, 6)])
def test_without_offsets_it_is_a_convolution(size, stride):
    x, weight, bias = numbers(2, 3, *size), numbers(4, 3, 3, 3), numbers(4)
    expected = F.conv2d(x, weight, bias, stride, padding=1)
    offset, mask = x.new_zeros(2, 18, *expected.shape[2:]), x.new_ones(2, 9, *expected.shape[2:])
    torch.testing.assert_close(deform_conv2d(x, offset, mask, weight, bias, stride), expected)


def test_an_offset_of_one_pixel_is_a_moved_picture():
    x, weight = numbers(1, 2, 6, 6), numbers(2, 2, 3, 3)
    offset, mask = x.new_zeros(1, 18, 6, 6), x.new_ones(1, 9, 6, 6)
    offset[:, 1::2] = 1.0  # dx
    expected = F.conv2d(F.pad(x, (0, 1))[..., 1:], weight, padding=1)
    found = deform_conv2d(x, offset, mask, weight, None)
    torch.testing.assert_close(found[..., 1:-1], expected[..., 1:-1])


def test_gradients():
    given = [numbers(1, 2, 4, 3), numbers(1, 18, 4, 3), numbers(1, 9, 4, 3), numbers(2, 2, 3, 3), numbers(2)]
    assert torch.autograd.gradcheck(deform_conv2d, [x.requires_grad_() for x in given])
