"""Kill -9 ten times at random: the resumed loss curve and weights equal those of an uninterrupted run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.engine.stub import StubLoader, stub_model, stub_run
from vlfuse.engine import checkpoint
from vlfuse.engine.log import read
from vlfuse.engine.train import train

KILLS, STEPS = 10, 240
LONGEST = 0.25  # seconds that an attempt may live once it trains


class SlowLoader(StubLoader):
    """Batches that take a moment, so that kills fall everywhere: in steps, in saving, between them."""

    def iterate(self, epoch=0, start_step=0):
        for batch in super().iterate(epoch, start_step):
            time.sleep(0.004)
            yield batch


def run_of(out):
    return stub_run(out, steps=STEPS, save_every=4)


def resume(out: Path) -> None:
    torch.set_num_threads(1)
    train(run_of(out), stub_model(), [SlowLoader()], resume=True)


def kill_repeatedly(out: Path) -> int:
    """Train in a forked process, kill it, go on in the next; then to the end. Returns how many were killed in the midst.

    Forks, not new interpreters: importing torch ten times would take longer than all the training.
    """
    killed, chance = 0, random.Random()
    for _ in range(KILLS):
        before = (out / "log.jsonl").stat().st_size if (out / "log.jsonl").exists() else 0
        child = os.fork()
        if child == 0:
            resume(out)
            os._exit(0)
        deadline = time.monotonic() + 30
        while not (out / "log.jsonl").exists() or (out / "log.jsonl").stat().st_size == before:
            assert time.monotonic() < deadline, "the run does not begin"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    resume(out)
    return killed


def losses(out: Path):
    return [(row["step"], row["loss"], row["grad_norm"]) for row in read(out / "log.jsonl")]


def test_ten_kills_leave_no_trace(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.engine.test_kill", str(whole), str(out)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == KILLS, "the run is too short to be killed that often"
    assert len(losses(out)) == STEPS and losses(out) == losses(whole)
    last = f"checkpoints/step-{STEPS:08d}/{checkpoint.MODEL}"
    assert (whole / last).read_bytes() == (out / last).read_bytes()


if __name__ == "__main__":
    torch.set_num_threads(1)  # forks and threads do not mix
    train(run_of(sys.argv[1]), stub_model(), [StubLoader()])  # also loads all that torch loads at its first step
    number = kill_repeatedly(Path(sys.argv[2]))
    print("killed", number)
