"""Boxes: overlaps against counting pixels, and codes that give back what they encode."""

import pytest
import torch

from vlfuse.ops.boxes import centerness, centres, clip, decode, encode, giou, iou


def boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 12, (count, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(1, 9, (count, 2), generator=generator)], dim=1).float()


@pytest.mark.parametrize("pixel", [0, 1])
def test_overlap_is_that_of_pixels(pixel):
    def pixels(box: torch.Tensor) -> set[tuple[int, int]]:
        x0, y0, x1, y1 = (int(v) for v in box)
        return {(x, y) for x in range(x0, x1 + pixel) for y in range(y0, y1 + pixel)}

    a, b = boxes(9), boxes(7, seed=1)
    found = iou(a, b, pixel)
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            p, q = pixels(one), pixels(other)
            assert float(found[i, j]) == pytest.approx(len(p & q) / len(p | q))


def test_empty_boxes_overlap_nothing():
    empty = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert iou(empty, empty).item() == 0 and iou(empty, boxes(1)).item() == 0


def test_giou_of_equal_boxes_is_one_and_falls_with_distance():
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    far = [giou(box, box + shift).item() for shift in (0, 4, 8, 80)]
    assert far[0] == pytest.approx(1) and far == sorted(far, reverse=True) and far[-1] > -1
    turned = torch.tensor([[4.0, 4.0, 0.0, 0.0]])  # an early prediction
    assert giou(turned, box).isfinite().all()


@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_codes_give_the_box_back(pixel):
    given, anchors = boxes(20), boxes(20, seed=3)
    torch.testing.assert_close(decode(encode(given, anchors, pixel), anchors, pixel), given, atol=1e-4, rtol=0)


def test_huge_codes_stay_finite():
    anchors = boxes(3)
    assert decode(torch.full((3, 4), 1e4), anchors).isfinite().all()


def test_the_middle_is_most_central():
    box = torch.tensor([[0.0, 0.0, 8.0, 4.0]])
    places = torch.tensor([[4.0, 2.0], [2.0, 2.0], [8.0, 2.0], [9.0, 2.0]])
    found = centerness(places, box.expand(4, 4))
    torch.testing.assert_close(found, torch.tensor([1.0, (1 / 3) ** 0.5, 0.0, 0.0]))
    torch.testing.assert_close(centres(box), torch.tensor([[4.0, 2.0]]))


def test_boxes_are_cut_to_height_and_width():
    wide = torch.tensor([[-5.0, -5.0, 100.0, 100.0]])
    assert clip(wide, torch.tensor([30, 50])).tolist() == [[0, 0, 50, 30]]
    assert clip(wide, torch.tensor([30, 50]), pixel=1.0).tolist() == [[0, 0, 49, 29]]
