"""A command in several processes of this machine that work as one, as torchrun starts them,
but with errors said plainly."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from vlfuse.types import ConfigError

OPTION = "--processes"
Main = Callable[[Sequence[str]], int]


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def room() -> int:
    """For how many processes there is a device each: GPUs, or cores where there is none."""
    return torch.cuda.device_count() or cores()


def wanted(given: Sequence[str], default: int = 1) -> tuple[int, list[str]]:
    """How many processes `--processes` asks for (without it `default`, if there is room), and the other arguments."""
    rest = [part for word in given for part in (word.split("=", 1) if word.startswith(f"{OPTION}=") else [word])]
    if OPTION not in rest:
        return (min(default, room()) if "WORLD_SIZE" not in os.environ else 1), rest
    place = rest.index(OPTION)
    value = rest[place + 1] if place + 1 < len(rest) else ""
    if not value.isdigit() or int(value) < 1:
        raise ConfigError(f"{OPTION} is '{value}'; give a number of processes, as in {OPTION} 2")
    number = int(value)
    if number > 1 and "WORLD_SIZE" in os.environ:
        raise ConfigError(f"{OPTION} {number} inside processes that torchrun started; use one of the two")
    if 0 < torch.cuda.device_count() < number:
        raise ConfigError(f"{OPTION} is {number} and there are {room()} GPUs; each process needs its own")
    return number, rest[:place] + rest[place + 2 :]


def run_in(processes: int, main: Main, arguments: Sequence[str]) -> int:
    """Call main(arguments), which returns an exit code, in so many processes that find each other
    (`engine.distributed.start`) and share the cores evenly. Returns the first exit code that is not 0.

    main: a function of a module, as the new processes import it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // processes)))  # read when torch is loaded
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    with environment(shared | {"OMP_NUM_THREADS": threads}):
        context = start_processes(_member, (main, list(arguments)), processes, join=False, start_method="spawn")
    assert context is not None
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # that it ends the others is no news
    with passed_on(context.pids()):
        try:
            while not context.join():
                pass
        except ProcessExitedException as error:
            return error.exit_code if error.exit_code > 0 else 1
    return 0


def _member(rank: int, main: Main, arguments: list[str]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    code = main(arguments)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    if code:
        sys.exit(code)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def passed_on(pids: Sequence[int]) -> Iterator[None]:
    """Leave it to the processes to stop well: Ctrl-C reaches them from the terminal, SIGTERM from here."""

    def terminate(number: int, frame: object) -> None:
        for pid in pids:
            os.kill(pid, number)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
