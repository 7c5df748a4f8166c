import pytest
import torch
from torch import nn

from vlfuse.layers.linear import FEW, Linear


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (FEW,), (FEW + 1,), (2, 3), (3, 1, 2), (0,), (0, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_equals_torch_for_any_number_of_rows(shape, bias):
    torch.manual_seed(0)
    ours, theirs = Linear(16, 12, bias=bias), nn.Linear(16, 12, bias=bias)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(*shape, 16).transpose(0, -1).contiguous().transpose(0, -1)  # as strided as callers give it
    y, expected = ours(x), theirs(x)
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous()
    y.square().sum().backward()
    expected.square().sum().backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
