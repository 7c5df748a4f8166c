"""Batches that gave no finite loss, kept for looking at."""

import torch
from safetensors.torch import save_file

from tests.data.test_grounding import BYTES, PHRASES, SCALE, batch_of
from vlfuse.data.collate import ALL
from vlfuse.data.grounding import GroundingCollate
from vlfuse.engine.failure import named_tensors, read_batch


def test_a_batch_with_objects_comes_back_whole(tmp_path):
    batch = batch_of(GroundingCollate(BYTES, SCALE, 64, "phrases", ALL), PHRASES)
    tensors = named_tensors(batch)
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "b.safetensors")
    again = named_tensors(read_batch(tmp_path / "b.safetensors"))
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], t) for name, t in tensors.items())
    assert {"images.stored", "grounding.objects.positive"} <= again.keys()
