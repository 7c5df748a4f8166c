"""Reading foreign files: the tensors come out, and nothing in the file runs."""

import json
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vlfuse.checkpoints.safe import read_tensors
from vlfuse.types import CheckpointError

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def elsewhere(monkeypatch):
    """Classes of a framework that is gone when the file is read."""
    module = types.ModuleType("training_framework")
    for name, base in (("Callback", object), ("Attributes", dict), ("Names", list), ("Tags", set)):
        setattr(module, name, type(name, (base,), {"__module__": "training_framework"}))
    monkeypatch.setitem(sys.modules, "training_framework", module)
    yield module


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_among_foreign_objects(tmp_path, elsewhere, monkeypatch, zipped):
    callback = elsewhere.Callback()
    callback.best = torch.ones(1)
    content = {
        "callbacks": {elsewhere.Callback: {"instance": callback}},
        "hyper_parameters": elsewhere.Attributes(lr=1e-5, names=elsewhere.Names(["a", "b"]), tags=elsewhere.Tags({1})),
        "where": Path("runs"),
        "state_dict": {**STATE, "p": torch.nn.Parameter(torch.zeros(2)), "half": torch.ones(3).half()[1:]},
    }
    path = tmp_path / "last.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "training_framework")
    tensors = read_tensors(path)
    assert list(tensors) == ["a.weight", "a.bias", "p", "half"]
    assert torch.equal(tensors["a.weight"], STATE["a.weight"]) and tensors["a.bias"].dtype == torch.bfloat16
    assert tensors["half"].shape == (2,) and not tensors["p"].requires_grad
    tensors["a.weight"] += 1  # a mapped file is never written to
    assert torch.equal(read_tensors(path)["a.weight"], STATE["a.weight"])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("where", ["beside", "inside"])
def test_code_in_a_file_is_never_run(tmp_path, zipped, where):
    """Known ways out are refused by name; any other function is not called."""
    mark = tmp_path / "ran"
    for function, arguments in ((os.system, (f"touch {mark}",)), (eval, (f"open({str(mark)!r}, 'w')",))):
        evil = Runs(function, *arguments)
        torch.save({"state_dict": STATE | ({"x": evil} if where == "inside" else {}), "evil": evil}, tmp_path / "e.pt", _use_new_zipfile_serialization=zipped)  # fmt: skip
        with pytest.raises(CheckpointError, match="--unsafe-pickle"):
            read_tensors(tmp_path / "e.pt")
    torch.save({"state_dict": STATE, "evil": Runs(Path.touch, mark)}, tmp_path / "e.pt", _use_new_zipfile_serialization=zipped)  # fmt: skip
    assert read_tensors(tmp_path / "e.pt").keys() == STATE.keys()
    assert not mark.exists()


def test_the_explicit_flag_runs_the_file(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"state_dict": STATE, "evil": Runs(Path.touch, mark)}, tmp_path / "e.pt")
    assert read_tensors(tmp_path / "e.pt", unsafe_pickle=True).keys() == STATE.keys()
    assert mark.exists()


def test_the_file_cannot_alter_what_builds_tensors(tmp_path):
    """A pickle may set attributes of whatever it holds, builders included."""
    rebuild = torch._utils._rebuild_tensor_v2

    path = tmp_path / "alter.pt"
    # GLOBAL rebuild, then BUILD with a slot state {"call": "x"}
    path.write_bytes(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x04\x00\x00\x00callX\x01\x00\x00\x00xs\x86b.")
    with pytest.raises(CheckpointError):
        read_tensors(path)
    assert torch._utils._rebuild_tensor_v2 is rebuild


def test_what_is_not_a_tensor_is_named(tmp_path, elsewhere):
    torch.save({"state_dict": STATE | {"odd": elsewhere.Callback(), "step": 3}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="2 entries are not tensors: odd, step"):
        read_tensors(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content", [{"state_dict": STATE, "model": 3}, {"model": STATE, "epoch": 1}, STATE, {f"module.{k}": v for k, v in STATE.items()}]
)  # fmt: skip
def test_the_entry_with_the_weights_is_found(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == STATE.keys()


def test_safetensors_shards_and_folders(tmp_path):
    save_file({"a.weight": STATE["a.weight"]}, tmp_path / "one.safetensors")
    torch.save({"a.bias": STATE["a.bias"]}, tmp_path / "two.bin")
    index = tmp_path / "model.safetensors.index.json"
    places = {"a.weight": "one.safetensors", "a.bias": "two.bin"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for path in (index, tmp_path):
        assert read_tensors(path).keys() == STATE.keys()
    index.write_text(json.dumps({"weight_map": places | {"b": "two.bin"}}))
    with pytest.raises(CheckpointError, match="1 tensors its shards do not hold: b"):
        read_tensors(index)
    index.write_text(json.dumps({"weight_map": {"b": "../two.bin"}}))
    with pytest.raises(CheckpointError, match="lie beside their index"):
        read_tensors(index)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="weight_map"):
        read_tensors(index)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_broken_files(tmp_path):
    torch.save(STATE, tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    for name, content in {"cut.pt": whole[: len(whole) // 2], "junk.pt": b"junk" * 9, "empty.pt": b"", "b.safetensors": b"12"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            read_tensors(tmp_path / name)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(tmp_path / "none.pt")
    (tmp_path / "d").mkdir()
    with pytest.raises(CheckpointError, match="holds none of"):
        read_tensors(tmp_path / "d")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_tensors(tmp_path / "script.pt")
