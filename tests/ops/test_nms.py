"""Non-maximum suppression against the loop it stands for."""

import pytest
import torch

from vlfuse.ops import nms as module
from vlfuse.ops.boxes import iou
from vlfuse.ops.nms import nms


def crowd(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 20], dim=1)
    return boxes, torch.rand(count, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def greedy(boxes, scores, labels, threshold, pixel) -> list[int]:
    overlap, kept = iou(boxes, boxes, pixel), []
    for i in scores.argsort(descending=True).tolist():
        if not any(labels[i] == labels[j] and overlap[i, j] > threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("chunk", [7, 64, 1024])
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_it_keeps_what_the_loop_keeps(monkeypatch, chunk, pixel):
    monkeypatch.setattr(module, "CHUNK", chunk)
    for seed in range(5):
        boxes, scores, labels = crowd(200, seed)
        expected = greedy(boxes, scores, labels, 0.4, pixel)
        assert nms(boxes, scores, labels, 0.4, pixel=pixel).tolist() == expected
        assert nms(boxes, scores, labels, 0.4, most=20, pixel=pixel).tolist() == expected[:20]


def test_nothing_comes_of_nothing():
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.5).tolist() == []
