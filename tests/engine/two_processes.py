"""What one of several processes does in the tests of distributed training; started by `launch`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.engine.regions import micro, scores_of
from tests.engine.stub import StubLoader, stub_model, stub_run
from vlfuse.checkpoints.config import config_to_dict
from vlfuse.engine import Evaluation, Evaluator, Run, Source, start, train
from vlfuse.engine.build import build
from vlfuse.engine.distributed import stop, wrap
from vlfuse.engine.step import Stream, Update
from vlfuse.ops.distributed import gather_with_grad, global_mean
from vlfuse.recipes.sizes import size_of
from vlfuse.systems.base import Model

REPOSITORY = Path(__file__).parents[2]


def launch(task: str, out: Path, processes: int) -> None:
    """Run `task` in that many processes over gloo, as torchrun would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = []
    for rank in range(processes):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.engine.two_processes", task, str(out)]
        started.append(
            subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    outputs = [process.communicate(timeout=120)[0].decode() for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(outputs)


def run_of(out: Path | str) -> Run:
    """All heads of the coarse stage at once, on sources of one and of two pictures, without dropout."""
    nano = size_of("nano")
    return Run(
        recipe="test",
        out=str(out),
        steps=4,
        sources=(
            Source(
                "scenes:64,size=64",
                {"mlm": 1.0, "itc": 1.0, "itm": 1.0, "vqa": 1.0},
                8,
                captions=1,
                questions=2,
                mask_probability=0.3,
            ),
            Source("scenes:64,size=64,paired=1", {"nlvr2": 1.0}, 4, statements=2),
        ),
        evaluations=(Evaluation("vqa", "scenes:7,size=64,split=val", batch_size=4),),
        system="fiber",
        config=config_to_dict(nano.config),
        tokenizer="scenes",
        image_size=64,
        max_text=nano.max_text,
        accumulate=2,
        device="cpu",
    )


def gradients(out: Path) -> None:
    """Save the losses and gradients of an update, and scores, as this process sees them."""
    world = start("cpu")
    run = run_of(out)
    built = build(run, world)
    optimiser = torch.optim.SGD(built.model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)  # type: ignore[attr-defined]
    streams = [Stream(loader) for loader in built.loaders]
    values, samples = Update(run, world, wrap(built.model, world), optimiser, scaler, streams)(0)
    saved = {name: p.grad.contiguous() for name, p in built.model.named_parameters() if p.grad is not None}
    saved |= {f"value/{name}": torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    scores = built.evaluators[0].scores(built.model.eval())
    saved |= {f"score/{name}": torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
    save_file({**saved, "samples": torch.tensor(samples)}, out / f"of-{world.size}-rank{world.rank}.safetensors")
    stop()


def rows(rank: int, size: int) -> Tensor:
    """This process's rows of a joined batch of 5: unlike numbers of them."""
    joined = torch.arange(5 * 3, dtype=torch.float64).view(5, 3).sin()
    return joined if size == 1 else joined[:2] if rank == 0 else joined[2:]


def ops(out: Path) -> None:
    """A loss over gathered rows and one that is a mean over an unlike number of them; its gradient, averaged as DDP does."""
    world = start("cpu")
    weight = torch.linspace(-1, 1, 9, dtype=torch.float64).view(3, 3).requires_grad_()
    features = rows(world.rank, world.size) @ weight
    everything = gather_with_grad(features)
    contrast = (features @ everything.T).logsumexp(1)
    asked = features[features[:, 0] > 0]
    loss = global_mean(contrast.sum(), len(features)) + global_mean(asked.pow(3).sum(), len(asked))
    loss.backward()
    result = {"grad": weight.grad, "loss": loss.detach().view(1), "asked": torch.tensor([len(asked)]).double()}
    nothing = global_mean(features.sum() * 0, 0)
    assert float(nothing.detach()) == 0
    if world.size > 1:
        for name in ("grad", "loss"):
            torch.distributed.all_reduce(result[name])
            result[name] /= world.size
        assert gather_with_grad(torch.tensor([world.rank == 0])).tolist() == [True, False]
    save_file(result, out / f"ops-{world.size}-rank{world.rank}.safetensors")  # type: ignore[arg-type]
    stop()


def loop(out: Path) -> None:
    """The whole loop on the stub, twelve steps; called again it finds the run half done and goes on."""
    world = start("cpu")
    folder = out / f"run-{world.size}"
    evaluations = (Evaluation("guess", "scenes:8", every=3),)
    run = stub_run(folder, steps=12, accumulate=2, evaluations=evaluations, best="guess/score")
    model = stub_model(dropout=0.0)
    loader = StubLoader(4, rank=world.rank, world_size=world.size)

    def scores(model: Model) -> dict[str, float]:
        return {"score": float(model.get_parameter("system.image.weight").abs().sum())}

    resume = (folder / "run.json").exists()
    train(run, model, [loader], [Evaluator("guess", scores, every=3)], world, resume)
    stop()


def regions(out: Path) -> None:
    """Scores of detection, grounding and referring."""
    world = start("cpu")
    scores = scores_of(micro(), world)
    (out / f"regions-{world.size}-{world.rank}.json").write_text(json.dumps(scores))
    stop()


if __name__ == "__main__":
    {"gradients": gradients, "ops": ops, "loop": loop, "regions": regions}[sys.argv[1]](Path(sys.argv[2]))
