"""Tensors across processes: gathers with gradient, and means whose gradient equals that of the joined batch.

Every function is the identity (or its plain form) when torch.distributed is not initialised or has one process.
Convention: the engine averages gradients over processes (as DDP does).
"""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def counts(local: int) -> list[int]:
    """How many rows each process holds, in rank order."""
    if world_size() == 1:
        return [local]
    gathered: list[int | None] = [None] * world_size()
    dist.all_gather_object(gathered, local)
    return [int(count or 0) for count in gathered]


def rank_offset(local: int) -> int:
    """Rows held by the processes of lower rank: where this process's rows begin in the joined batch."""
    return sum(counts(local)[: dist.get_rank()]) if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        shape = torch.tensor(local.shape, device=local.device)
        shapes = [torch.empty_like(shape) for _ in range(world_size())]
        dist.all_gather(shapes, shape)
        ctx.rows, ctx.shape = [int(s[0]) for s in shapes], local.shape
        padded = local.new_zeros(torch.stack(shapes).amax(0).tolist())
        padded[tuple(map(slice, local.shape))] = local
        pieces = [torch.empty_like(padded) for _ in shapes]
        dist.all_gather(pieces, padded)
        return torch.cat([piece[:n] for piece, n in zip(pieces, ctx.rows, strict=True)])

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:  # type: ignore[override]
        grad = grads[0].clone(memory_format=torch.contiguous_format)  # autograd may still hold what came in
        dist.all_reduce(grad)
        return grad[sum(ctx.rows[: dist.get_rank()]) :][tuple(map(slice, ctx.shape))]


def gather_with_grad(local: Tensor) -> Tensor:
    """Rows of all processes in rank order, [sum of n, ...]; each process may hold another number n of them.

    Where their other sizes differ (texts padded to the longest of each process), rows are zero-padded at the end. The
    gradient of every process's use of a row comes back, summed, to the process that made it.
    """
    if world_size() == 1:
        return local
    if local.dtype == torch.bool:
        return _Gather.apply(local.to(torch.uint8)).bool()  # type: ignore[union-attr]
    return _Gather.apply(local)  # type: ignore[return-value]


def global_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """Mean over the joined batch from each process's sum and count.

    Its value here is this process's share scaled by the number of processes, so that averaging values (or
    gradients) over processes gives those of one process with the joined batch. A count of 0 everywhere gives 0.
    """
    everywhere = torch.as_tensor(count, device=total.device).clone()
    if world_size() > 1:
        dist.all_reduce(everywhere)
    return total * world_size() / everywhere.clamp(min=1)  # no int(count): a GPU would have to wait for it


def mean_count(count: Tensor) -> Tensor:
    """The mean over processes of a number each counts, as float: what divides a loss that
    is then averaged over processes."""
    everywhere = count.detach().float()
    if world_size() > 1:
        everywhere = everywhere.clone()
        dist.all_reduce(everywhere)
    return everywhere / world_size()
