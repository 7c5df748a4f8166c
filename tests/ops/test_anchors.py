"""Anchors and the objects they learn, against a loop that follows the paper's text."""

import torch

from vlfuse.ops.anchors import anchors_of, assign
from vlfuse.ops.boxes import centres, iou


def test_anchors_lie_around_the_middle_of_their_place():
    (level,) = anchors_of([(2, 3)], [8], 4.0)
    assert centres(level).tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert (level[:, 2:] - level[:, :2] == 32).all()


def by_hand(levels, boxes) -> list[int]:
    anchors = torch.cat(levels)
    chosen = [(-1.0, -1)] * len(anchors)
    for number, box in enumerate(boxes):
        distance = (centres(anchors) - centres(box[None])).norm(dim=1)
        candidates, first = [], 0
        for level in levels:
            inside = sorted(range(first, first + len(level)), key=lambda i: float(distance[i]))
            candidates += inside[:9]
            first += len(level)
        overlap = iou(anchors, box[None])[:, 0]
        threshold = overlap[candidates].mean() + overlap[candidates].std()
        for i in candidates:
            x, y = centres(anchors[i : i + 1])[0]
            within = x - box[0] > 0.01 and y - box[1] > 0.01 and box[2] - x > 0.01 and box[3] - y > 0.01
            if overlap[i] >= threshold and within and float(overlap[i]) > chosen[i][0]:
                chosen[i] = (float(overlap[i]), number)
    return [number for _, number in chosen]


def test_objects_go_where_the_paper_says():
    levels = anchors_of([(8, 8), (4, 4), (2, 2)], [8, 16, 32], 4.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        corner = torch.rand(6, 2, generator=generator) * 40
        boxes = torch.cat([corner, corner + 4 + torch.rand(6, 2, generator=generator) * 30], dim=1)
        assert assign(levels, boxes).tolist() == by_hand(levels, boxes)


def test_without_objects_all_is_background():
    levels = anchors_of([(4, 4)], [8], 4.0)
    assert (assign(levels, torch.zeros(0, 4)) == -1).all()
