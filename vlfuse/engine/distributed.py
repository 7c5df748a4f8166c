"""Processes of one run: started by torchrun, or just one."""

import os
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vlfuse.types import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0


def start(device: str = "auto") -> World:
    """Join the processes torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), over nccl on GPUs and gloo on CPUs.

    device: "auto" takes a GPU where there is one. May be called again in the same process.
    """
    kind = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is '{device}' but torch {torch.__version__} sees no GPU; use device 'auto' or 'cpu'")
    if "WORLD_SIZE" not in os.environ:
        return World(device=torch.device(kind))
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), chosen)


def stop() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def wrap(model: nn.Module, world: World) -> nn.Module:
    """The model with gradients averaged over processes. Heads that a batch does not use leave parameters without
    gradient.

    Buffers are not broadcast: those we have (queues of gathered features) are equal on every process by construction.
    """
    if world.size == 1:
        return model
    devices = [world.device.index] if world.device.type == "cuda" else None
    new = "forward_sync_buffers"  # its name since torch 2.13
    known = new in signature(DistributedDataParallel).parameters
    options: dict[str, Any] = {new if known else "broadcast_buffers": False}
    return DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True, **options)


def mean(values: Tensor, world: World) -> Tensor:
    """Mean over processes, on every process."""
    if world.size == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world.size


def total(values: Tensor, world: World) -> Tensor:
    """Sum over processes, on every process; exact for float64 counts."""
    if world.size == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def gathered(rows: list[T], world: World) -> list[T]:
    """The rows of all processes, on every process."""
    if world.size == 1:
        return rows
    pieces: list[list[T] | None] = [None] * world.size
    dist.all_gather_object(pieces, rows)
    return [row for piece in pieces for row in piece or ()]


def any_process(wish: bool, world: World) -> bool:
    """Whether any process wishes it; every process gets the same answer."""
    return wish if world.size == 1 else bool(total(torch.tensor(float(wish), device=world.device), world))


def barrier(world: World) -> None:
    if world.size > 1:
        dist.barrier()
