"""The reading of golden vectors itself."""

import pytest
import torch

from tests.golden.vectors import Tolerance, assert_close, load, parse_tolerance, vectors


@pytest.mark.parametrize(
    ("stated", "general", "gradients"),
    [
        ("atol 2e-5, rtol 1e-4", Tolerance(2e-5, 1e-4), None),
        ("losses atol 2e-5; grads rtol 2e-3 + atol 2e-5", Tolerance(2e-5, 0.0), Tolerance(2e-5, 2e-3)),
        ("1e-12", Tolerance(1e-12, 0.0), None),
        (1e-9, Tolerance(1e-9, 0.0), None),
        ({"forward": "atol 1e-6", "grad": "rtol 1e-3"}, Tolerance(1e-6, 0.0), Tolerance(0.0, 1e-3)),
        ("exact strings; scores rtol 1e-6", Tolerance(0.0, 1e-6), None),
        ("exact", Tolerance(), None),
    ],
)
def test_tolerances_are_read(stated, general, gradients):
    found = parse_tolerance(stated)
    assert found[""] == general
    assert next((t for kind, t in found.items() if kind.startswith("grad")), None) == gradients


def test_differences_are_reported_with_place_and_size():
    expected = torch.tensor([[1.0, 2.0], [torch.inf, 4.0]])
    assert_close(expected + 1e-6, expected, Tolerance(atol=1e-5), "same")
    off = expected.clone()
    off[1, 1] = 4.5
    with pytest.raises(AssertionError, match=r"logits: 1 of 4 values are off .* \[1, 1\]: 4.5, expected 4"):
        assert_close(off, expected, Tolerance(atol=1e-5), "logits")
    off[0, 1] = torch.nan
    with pytest.raises(AssertionError, match=r"2 of 4 .* \[0, 1\]: nan"):
        assert_close(off, expected, Tolerance(atol=1e-5), "logits")
    with pytest.raises(AssertionError, match="shape"):
        assert_close(off[0], expected, Tolerance(), "logits")


@pytest.mark.parametrize("path", vectors("fiber_coarse_roberta_fusion_layer.json"))
def test_tensors_are_found_by_part(path):
    golden = load(path)
    assert golden.get("state/") and golden.get("out/") and golden.tolerance == Tolerance(2e-5, 1e-4)
    with pytest.raises(KeyError, match="has no tensor 'out/nothing'"):
        golden["out/nothing"]


def test_missing_recordings_skip_with_a_reason():
    (missing,) = vectors("no_such_*.json")
    assert "VLFUSE_GOLDEN" in missing.marks[0].kwargs["reason"]
