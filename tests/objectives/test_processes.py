"""Two processes (gloo) give the losses and gradients of one process with the joined batch."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.contract.sizes import ANSWERS, batch_for, images, texts, tiny_head, tiny_system
from vlfuse.objectives.itc import ImageTextContrastive
from vlfuse.systems.base import Model
from vlfuse.types import Batch, Texts, Tokens

HEADS = ("mlm", "itc", "itm", "vqa", "grounding", "caption")


def model() -> Model:
    system = tiny_system("fiber")
    heads = {name: tiny_head(system, name) for name in HEADS}
    return Model(system, heads | {"itc": ImageTextContrastive(system, queue=8)}).train()


def joined() -> Batch:
    target = torch.rand(4, len(ANSWERS), generator=torch.Generator().manual_seed(0))
    captions = texts([0, 1, 0, 2, 3, 4], masked=True)
    questions = texts([0, 1, 2, 4], seed=1, target=target)
    return Batch(images(5), captions=captions, questions=questions, grounding=batch_for("grounding", 5).grounding)


def share(rank: int) -> Batch:
    """Unlike shares: images 0-2 with four captions and three questions, images 3-4 with two and one, padded to their own longest."""
    whole = joined()
    start, end = (0, 3) if rank == 0 else (3, 5)

    def part(given: Texts) -> Texts:
        mine = (given.owner >= start) & (given.owner < end)
        length = int(given.tokens.mask[mine].sum(1).max())
        cut = {
            key: None if value is None else value[mine][:, :length]
            for key, value in (("masked_ids", given.masked_ids), ("mask_labels", given.mask_labels))
        }
        rows = Tokens(given.tokens.ids[mine][:, :length], given.tokens.mask[mine][:, :length])
        target = None if given.target is None else given.target[mine]
        objects = given.objects
        if objects is not None:
            objects = objects[mine[objects.text]]
            objects = replace(objects, text=objects.text - int(mine.nonzero()[0]))
        return replace(given, tokens=rows, owner=given.owner[mine] - start, target=target, objects=objects, **cut)

    return Batch(
        whole.images[start:end],
        captions=part(whole.captions),
        questions=part(whole.questions),
        grounding=part(whole.grounding),
    )


def run(batch: Batch) -> dict[str, torch.Tensor]:
    """Losses of two steps, gradients of the second, and the queue."""
    trained, found = model(), {}
    for step in range(2):
        trained.zero_grad()
        results = trained(batch, HEADS, torch.Generator().manual_seed(step))
        sum(result["loss"] for result in results.values()).backward()
        found |= {f"loss {name} {step}": result["loss"].detach() for name, result in results.items()}
    found |= {f"grad {name}": p.grad for name, p in trained.named_parameters() if p.grad is not None}
    return found | {f"queue {name}": b.clone() for name, b in trained.named_buffers()}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = run(share(rank))
    for name, value in found.items():
        if not name.startswith("queue"):  # what training does with gradients, and the value that it logs
            dist.all_reduce(value)
            found[name] = value / 2
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path):
    lengths = [share(rank).captions.tokens.ids.shape[1] for rank in range(2)]
    assert lengths[0] != lengths[1], "the shares must be padded to unlike lengths"
    expected = run(joined())
    mp.spawn(process, args=(str(tmp_path),), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=2e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
