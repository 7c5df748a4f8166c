"""Reading weights that others wrote, without running anything they wrote.

A pickle is a program: it may name any function of any module and have it called. Checkpoints of training frameworks
need that freedom for their own state (callbacks, hyper-parameters), although all we want are the tensors among it. So
their pickles are read by an unpickler that hands out only the functions which rebuild tensors; every other name in the
file becomes an inert stand-in, an empty object without code, and its module is not even imported. A file that asks for
a function which no honest checkpoint needs (`os.system`, `eval`) is refused.
"""

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlfuse.checkpoints.mapping import listed
from vlfuse.types import CheckpointError

UNSAFE = "if you trust whoever made it, pass --unsafe-pickle (unsafe_pickle=True), which lets the file run code on this machine"

# Names that torch itself writes for tensors; each only builds a value from its arguments.
TENSOR_BUILDERS = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("torch", "device"),
    *(("torch", str(dtype).removeprefix("torch.")) for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)),
}
# Stand-ins would be as harmless for these; but a file that asks for them was made to do harm, and its user should know.
DANGEROUS = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "runpy", "importlib", "ctypes", "pty"}
DANGEROUS_BUILTINS = {"eval", "exec", "compile", "open", "__import__", "setattr", "delattr", "globals", "vars", "input", "breakpoint"}  # fmt: skip


class Inert:
    """Stands for an object of a class we do not load: takes whatever the file does to it and keeps nothing."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any):
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return self

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass


class Builder:
    """A tensor builder that the file can call but not alter."""

    __slots__ = ("call",)

    def __init__(self, call: Any):
        object.__setattr__(self, "call", call)

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"the file tries to alter {self.call}")


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in TENSOR_BUILDERS:
            found = super().find_class(module, name)
            return Builder(found) if callable(found) else found  # a dtype is a value
        root = module.split(".")[0]
        if root in DANGEROUS or (root in ("builtins", "__builtin__") and name in DANGEROUS_BUILTINS):
            raise pickle.UnpicklingError(
                f"the file wants to use {module}.{name}, which a set of weights has no need for"
            )
        return Inert


class _TensorPickle:
    """What `torch.load` expects of a pickle module."""

    Unpickler = _TensorUnpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _TensorUnpickler(file, **options).load()


def read_tensors(path: str | Path, unsafe_pickle: bool = False) -> dict[str, Tensor]:
    """The weights of a foreign checkpoint, on the CPU, under the file's own keys.

    path: a safetensors file, a torch file (of any age), a `*.index.json` of sharded weights, or a folder that holds
    `model.safetensors` or `pytorch_model.bin` or an index of one. Of a training checkpoint only the entry `state_dict`
    or `model` is used; the prefix `module.` of data-parallel training is taken off. Large files are mapped, not copied.

    Raises CheckpointError when the file is absent, broken, holds no tensors, or wants to run code.
    """
    path = _weights_file(Path(path))
    if path.name.endswith(".index.json"):
        return _read_shards(path, unsafe_pickle)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is no readable safetensors file ({error}); fetch it again") from error
    return _without_module(_state_of(_read_torch(path, unsafe_pickle), path))


def _weights_file(path: Path) -> Path:
    if path.is_dir():
        names = (
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        )
        for name in names:
            if (path / name).is_file():
                return path / name
        raise CheckpointError(f"the folder {path} holds none of {', '.join(names)}; name the file itself")
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; name a file of weights or a folder that holds one")
    return path


def _read_shards(index: Path, unsafe_pickle: bool) -> dict[str, Tensor]:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} is no index of sharded weights: it needs an object 'weight_map'") from error
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or shard.endswith(".index.json"):
            raise CheckpointError(f"{index} names the shard '{shard}'; shards lie beside their index")
        tensors |= read_tensors(index.parent / shard, unsafe_pickle)
    lost = sorted(places.keys() - tensors.keys())
    if lost:
        raise CheckpointError(f"{index} promises {len(lost)} tensors its shards do not hold: {listed(lost)}")
    return tensors


def _read_torch(path: Path, unsafe_pickle: bool) -> Any:
    """The object in a torch file. Its zip form is memory-mapped: a queue of raw images that nobody asks
    for costs nothing."""
    is_zip = zipfile.is_zipfile(path)
    if is_zip and _is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript program, not a set of weights; save its state_dict() with torch.save"
        )
    pickle_module = None if unsafe_pickle else _TensorPickle
    try:
        # weights_only would refuse the whole file at its first foreign class; our pickle module reads past it.
        return torch.load(path, map_location="cpu", mmap=is_zip, weights_only=False, pickle_module=pickle_module)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} was not loaded: {error}; {UNSAFE}") from error
    except Exception as error:  # broken bytes can make an unpickler raise anything
        raise CheckpointError(
            f"{path} is no readable torch file ({type(error).__name__}: {error}); fetch it again, or convert it to safetensors"
        ) from error


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _state_of(content: Any, path: Path) -> dict[str, Tensor]:
    for entry in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no tensors under 'state_dict', 'model' or at its top level")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{path}: {len(others)} entries are not tensors: {listed(others)}; {UNSAFE}")
    return {str(key): value.detach() for key, value in content.items()}


def _without_module(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(key.startswith("module.") for key in tensors):
        return {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return tensors
