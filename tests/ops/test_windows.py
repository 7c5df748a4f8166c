"""Windows over grids of any size, against definitions written out token by token."""

import pytest
import torch

from vlfuse.ops.windows import merge, padded_size, partition, region_mask, relative_index, valid_mask

CASES = [  # grid, window, shift
    ((4, 4), (2, 2), (0, 0)),
    ((4, 6), (2, 2), (1, 1)),
    ((5, 7), (3, 3), (1, 1)),
    ((5, 2), (3, 2), (1, 0)),
    ((1, 9), (1, 4), (0, 2)),
    ((1, 1), (1, 1), (0, 0)),
]


def neighbours(grid, window, shift, attend_padding) -> set[tuple[int, int]]:
    """Pairs of tokens of the padded grid that may see each other: one window, no seam between them, both real or both not."""
    H, W = padded_size(grid, window)

    def home(row: int, column: int) -> tuple:
        rolled = (row - shift[0]) % H, (column - shift[1]) % W
        wrapped = row < shift[0], column < shift[1]  # rolled over the edge: a stranger in its new window
        real = attend_padding or (row < grid[0] and column < grid[1])
        return rolled[0] // window[0], rolled[1] // window[1], wrapped, real

    homes = [home(row, column) for row in range(H) for column in range(W)]
    return {(a, b) for a, x in enumerate(homes) for b, y in enumerate(homes) if x == y}


@pytest.mark.parametrize(("grid", "window", "shift"), CASES)
def test_merge_undoes_partition(grid, window, shift):
    x = torch.randn(2, *grid, 3)
    assert torch.equal(merge(partition(x, window, shift), grid, window, shift), x)


@pytest.mark.parametrize(("grid", "window", "shift"), CASES)
@pytest.mark.parametrize("attend_padding", [False, True])
def test_region_mask(grid, window, shift, attend_padding):
    H, W = padded_size(grid, window)
    mask = region_mask(grid, window, shift, torch.device("cpu"), attend_padding)
    number = torch.arange(H * W).view(1, H, W, 1)
    cut = partition(number, window, shift)[0, :, :, 0]
    visible = torch.ones(1, *cut.shape, cut.shape[1], dtype=torch.bool) if mask is None else mask
    seen = {
        (int(cut[w, i]), int(cut[w, j]))
        for w in range(cut.shape[0])
        for i in range(cut.shape[1])
        for j in range(cut.shape[1])
        if visible[0, w, i, j]
    }
    assert seen == neighbours(grid, window, shift, attend_padding)


def test_valid_mask_separates_real_tokens_from_padding():
    valid = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    mask = valid_mask(valid, (2, 2), (2, 2), (0, 0))
    assert torch.equal(mask[0, 0], valid[0][:, None] == valid[0][None, :])
    assert mask[1].all()


@pytest.mark.parametrize("window", [(3, 3), (2, 3), (1, 1)])
def test_relative_index_depends_on_the_offset_alone(window):
    """A smaller window reads the rows of the table that a full one reads for the same offsets."""
    full = relative_index((3, 3), 3, torch.device("cpu"))
    index = relative_index(window, 3, torch.device("cpu"))
    places = [row * 3 + column for row in range(window[0]) for column in range(window[1])]
    assert torch.equal(index, full[places][:, places])
    assert full[0, 0] == 12 and full[8, 0] == 24 and full[0, 8] == 0


def test_kept_indices_serve_training_after_inference_mode():
    device = torch.device("cpu")
    with torch.inference_mode():
        index = relative_index((5, 4), 5, device)
        mask = region_mask((6, 6), (5, 5), (2, 2), device, False)
    assert mask is not None and not index.is_inference() and not mask.is_inference()
