"""Without other processes the gathers and means are their plain forms (with them: tests/objectives/test_processes.py)."""

import torch

from vlfuse.ops.distributed import counts, gather_with_grad, global_mean, rank_offset, world_size


def test_one_process_gathers_itself():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_with_grad(rows) is rows
    assert (world_size(), counts(3), rank_offset(3)) == (1, [3], 0)


def test_mean_of_counted_things():
    total = torch.tensor(6.0, requires_grad=True)
    assert global_mean(total, 4).item() == global_mean(total, torch.tensor(4)).item() == 1.5
    nothing = global_mean(total * 0, torch.tensor(0))
    nothing.backward()
    assert nothing.item() == 0 and total.grad.item() == 0
    assert global_mean(total.bfloat16(), 4).dtype == torch.bfloat16
