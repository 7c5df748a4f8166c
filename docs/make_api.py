"""Write docs/api.md: signatures and docstrings of what users call, as they stand in the source.

python docs/make_api.py
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

LONGEST, INDENT = 110, 4 * " "
PAGE = Path(__file__).with_name("api.md")
HEAD = """# Python

Made by `python docs/make_api.py` from the docstrings. Shapes are in brackets; errors are subclasses of `vlfuse.types.VlfuseError`,
whose message names the value, what is allowed and the mend.
"""

# Title, what it is about, and the names: a module and what of it is shown, with its public methods where it is a class.
SECTIONS: tuple[tuple[str, str, dict[str, tuple[str, ...]]], ...] = (
    ("Loading", "", {"vlfuse": ("load", "list_models")}),
    ("Using a model", "What `vlfuse.load` returns.", {"vlfuse.predict": ("Predictor",)}),
    ("Answers", "", {"vlfuse.types": ("Answer", "Caption", "Detection", "Grounding")}),
    (
        "Data",
        "What a line of a data set holds; [data](data.md) has the JSON.",
        {
            "vlfuse.data.readers": ("open_dataset",),
            "vlfuse.types": ("Sample", "Region", "Phrase", "Expression", "Question", "Statement"),
            "vlfuse.data.scenes": ("SceneDataset",),
        },
    ),
    (
        "Training and scores",
        "A recipe makes a `Run`, `execute` carries it out. A `Run` is data: `dataclasses.replace` changes what you like.",
        {
            "vlfuse.recipes.asked": ("Asked",),
            "vlfuse.recipes": (
                "fiber_coarse", "fiber_fine", "fiber_nano", "fiber_nano_fine", "fiber_nano_more", "fiber_nano_last", "bridgetower", "bridgetower_nano", "vqa", "nlvr2", "nlvr",
                "entailment", "caption", "retrieval", "detection", "grounding", "referring",
            ),
            "vlfuse.recipes.execute": ("execute", "read_scores", "score", "answers"),
            "vlfuse.engine.run": ("Run", "Source", "Boxes", "Optim", "Evaluation"),
        },
    ),
    (
        "Models and weights",
        "",
        {
            "vlfuse.checkpoints.hub": ("load_model",),
            "vlfuse.checkpoints.folder": ("LoadedModel", "Preprocessing", "save_folder"),
            "vlfuse.checkpoints.importing": ("import_file",),
            "vlfuse.checkpoints.backbones": ("init_backbones",),
            "vlfuse.checkpoints.bridgetower_hf": ("export_huggingface",),
        },
    ),
    ("Inside a model", "See [architecture](architecture.md).", {"vlfuse.systems.base": ("System", "Model", "Head")}),
    (
        "Metrics",
        "Pure functions; [tasks](tasks.md) says which protocol each follows.",
        {
            "vlfuse.metrics.vqa": ("vqa_scores", "normalise"),
            "vlfuse.metrics.caption": ("caption_metrics", "CiderD"),
            "vlfuse.metrics.retrieval": ("retrieval_metrics", "fold_mean"),
            "vlfuse.metrics.nlvr2": ("nlvr2_metrics",),
            "vlfuse.metrics.detection": ("coco_ap", "lvis_fixed_ap", "average_ap"),
            "vlfuse.metrics.grounding": ("phrase_recall", "referring_accuracy"),
        },
    ),
    (
        "Errors",
        "",
        {"vlfuse.types": ("VlfuseError", "DataError", "ConfigError", "CheckpointError", "TaskError")},
    ),
)  # fmt: skip


def page() -> str:
    parts = [HEAD]
    for title, about, modules in SECTIONS:
        parts += [f"## {title}\n", *([about + "\n"] if about else [])]
        for module, names in modules.items():
            for name in names:
                parts += entry(module, name, getattr(import_module(module), name))
    return "\n".join(parts)


def entry(module: str, name: str, thing: Any) -> Iterator[str]:
    yield f"### {module}.{name}\n"
    node = _node(thing)
    if isinstance(node, ast.FunctionDef):
        yield block(header(node))
        yield from prose(node)
        return
    assert isinstance(node, ast.ClassDef)
    yield block(fields(node) if is_dataclass(thing) else constructor(node))
    yield from prose(node)
    for method in () if is_dataclass(thing) else node.body:
        if isinstance(method, ast.FunctionDef) and _shown(method):
            yield f"#### {name}.{method.name}\n"
            yield block(header(method))
            yield from prose(method)


def _node(thing: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def _shown(method: ast.FunctionDef) -> bool:
    """Public, with something said about it; overloads say the same less well."""
    overloaded = any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in method.decorator_list)
    return not method.name.startswith("_") and not overloaded and ast.get_docstring(method) is not None


def header(node: ast.FunctionDef, name: str = "") -> str:
    """The signature, on one line where it is short."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    pieces = list(_pieces(node.args))
    line = f"{name or node.name}({', '.join(pieces)}){returns}"
    if len(line) <= LONGEST:
        return line
    return f"{name or node.name}(\n" + "".join(f"    {piece},\n" for piece in pieces) + f"){returns}"


def _pieces(given: ast.arguments) -> Iterator[str]:
    """Each argument but self, with its type and default."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    for argument, default in zip(plain, defaults, strict=True):
        if argument.arg != "self":
            yield _piece(argument, default)
    if given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _piece(argument, default)


def _piece(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")


def constructor(node: ast.ClassDef) -> str:
    made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if made is None:
        return f"class {node.name}({', '.join(ast.unparse(base) for base in node.bases)})"
    made.returns = None
    return header(made, node.name)


def fields(node: ast.ClassDef) -> str:
    """Those of a dataclass, each with what is said of it."""
    lines = [f"class {node.name}:"]
    for one in node.body:
        if isinstance(one, ast.AnnAssign):
            lines.append(f"    {ast.unparse(one)}")
        elif isinstance(one, ast.Expr) and len(lines) > 1:  # words behind a field
            lines[-1] += f"  # {ast.literal_eval(one.value)}"
    return "\n".join(lines)


def block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def prose(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """The docstring; its `Args:` as they are."""
    told = ast.get_docstring(node)
    if told:
        about, _, arguments = told.partition("\nArgs:\n")
        yield about.rstrip() + "\n"
        for line in arguments.rstrip().splitlines():
            yield ("  " if line.startswith(2 * INDENT) else "* ") + line.strip()
        if arguments:
            yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
