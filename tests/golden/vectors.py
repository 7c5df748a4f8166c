"""Golden vectors: inputs, weights and results recorded from the reference implementations.

Each is a JSON file that describes a recording beside a safetensors file that holds its tensors, named by their part in
it: `state/` weights, `in/` inputs, `mid/` intermediate values, `out/` results, `grad/` gradients. They are looked up in
the folder `VLFUSE_GOLDEN`, else in `../shared/golden` beside the repository if there is one, else among the few kept in
`tests/golden/data`.

    @pytest.mark.parametrize("path", vectors("fiber_coarse_fusion*.json"))
    def test_fusion(path):
        golden = load(path)
        model = build(golden.meta["config"], golden.get("state/"))
        assert_close(model(golden["in/image"]), golden["out/image_feats"], golden.tolerance_of("out/image_feats"), "image")
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

REPOSITORY = Path(__file__).parents[2]
KEPT = Path(__file__).parent / "data"


def folder() -> Path:
    if "VLFUSE_GOLDEN" in os.environ:
        return Path(os.environ["VLFUSE_GOLDEN"])
    beside = REPOSITORY.parent / "shared" / "golden"
    return beside if beside.is_dir() else KEPT


def vectors(*patterns: str) -> list[Any]:
    """One pytest parameter (the path) for every JSON file that a glob pattern finds, and one that skips when none does."""
    paths = sorted({path for pattern in patterns for path in folder().glob(pattern)})
    if paths:
        return [pytest.param(path, id=path.stem) for path in paths]
    reason = f"no {' or '.join(patterns)} in {folder()}; set VLFUSE_GOLDEN to a folder that has them"
    return [pytest.param(None, id="missing", marks=pytest.mark.skip(reason=reason))]


@dataclass(frozen=True)
class Tolerance:
    """Two values agree when |actual - expected| <= atol + rtol x |expected|."""

    atol: float = 0.0
    rtol: float = 0.0


@dataclass(frozen=True)
class Vectors:
    path: Path
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, key: str) -> Tensor:
        if key not in self.tensors:
            near = [k for k in self.tensors if k.partition("/")[0] == key.partition("/")[0]][:20]
            raise KeyError(f"{self.path.name} has no tensor '{key}'; it has, for instance, {', '.join(near)}")
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def get(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, without it: get("state/"), get("in/partial.")."""
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}

    @cached_property
    def tolerances(self) -> dict[str, Tolerance]:
        """What the recording says about each kind of value; "" is the general statement, or else the first."""
        return parse_tolerance(self.meta.get("tolerance", ""))

    @property
    def tolerance(self) -> Tolerance:
        return self.tolerances[""]

    def tolerance_of(self, key: str) -> Tolerance:
        """The tolerance for one recorded tensor: that of gradients for `grad/` keys where the recording states one.

        Never below twice the recorded rounding noise of the tensor: two float32 results may each be that far from exact.
        """
        kind = "grad" if key.startswith("grad/") else ""
        stated = next((t for name, t in self.tolerances.items() if kind and name.startswith(kind)), self.tolerance)
        noise = self.meta.get("fp32_noise_vs_fp64", {}).get(key, 0.0)
        return Tolerance(max(stated.atol, 2 * noise), stated.rtol)


def load(path: Path) -> Vectors:
    """Read a JSON file and, where there is one, the safetensors file it names (by default that of the same name)."""
    meta = json.loads(path.read_text())
    tensors = path.with_name(meta.get("file", f"{path.stem}.safetensors"))
    return Vectors(path, meta, load_file(tensors) if tensors.exists() else {})


NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
ABSOLUTE, RELATIVE = re.compile(rf"\b(?:atol|abs)\s+{NUMBER}"), re.compile(rf"\b(?:rtol|rel)\s+{NUMBER}")


def parse_tolerance(stated: Any) -> dict[str, Tolerance]:
    """Read "atol 2e-5, rtol 1e-4", "losses atol 2e-5; grads rtol 2e-3 + atol 2e-5", a bare number, or a dict of such.

    Returns a tolerance for each kind named, and under "" the general one: the first that is stated, exact if none is.
    """
    if isinstance(stated, dict) and {"atol", "rtol"} & stated.keys():
        return {"": Tolerance(stated.get("atol", 0.0), stated.get("rtol", 0.0))}
    if isinstance(stated, dict):
        found = {str(kind): parse_tolerance(value)[""] for kind, value in stated.items()}
    else:
        found = {}
        for clause in str(stated).split(";"):
            absolute, relative = ABSOLUTE.search(clause), RELATIVE.search(clause)
            bare = re.fullmatch(rf"\s*{NUMBER}\s*", clause)
            if absolute or relative or bare:
                atol = bare or absolute
                kind = re.split(r"\b(?:atol|abs|rtol|rel)\b", clause)[0].strip(" :,") if not bare else ""
                found[kind] = Tolerance(float(atol[1]) if atol else 0.0, float(relative[1]) if relative else 0.0)
    return {"": next(iter(found.values()), Tolerance()), **found}


def assert_close(actual: Tensor, expected: Tensor, tolerance: Tolerance, what: str) -> None:
    """Fail, saying where and by how much, unless the tensors agree in shape and within the tolerance."""
    __tracebackhide__ = True
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if actual.numel() == 0:
        return
    got, want = actual.detach().cpu().double(), expected.detach().cpu().double()
    excess = (got - want).abs() - tolerance.atol - tolerance.rtol * want.abs()
    excess[got == want] = -torch.inf  # infinities of the same sign
    wrong = ~(excess <= 0)  # NaN is wrong
    if wrong.any():
        worst = int(torch.where(excess.isnan(), torch.inf, excess).argmax())
        place = [int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape)]
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {wrong.numel()} values are off (atol {tolerance.atol:g}, rtol "
            f"{tolerance.rtol:g}); the worst at {place}: {got.flatten()[worst]:.8g}, expected "
            f"{want.flatten()[worst]:.8g}; largest difference {(got - want).abs().max():.3g}"
        )
