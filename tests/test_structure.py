"""The house keeps its shape: imports point one way, files and functions stay readable, nothing is loaded or caught blindly."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "vlfuse"

BELOW_SYSTEMS = {"types", "ops", "layers", "backbones", "fusion"}
MODELS = BELOW_SYSTEMS | {"systems", "objectives", "tasks"}
USE = MODELS | {"data", "metrics", "checkpoints", "predict"}

# What each part may import of vlfuse, beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "ops": {"types"},
    "layers": {"types", "ops"},
    "fusion": {"types", "ops", "layers"},
    "backbones": {"types", "ops", "layers", "fusion"},
    "systems": BELOW_SYSTEMS,
    "objectives": BELOW_SYSTEMS | {"systems"},
    "tasks": BELOW_SYSTEMS | {"systems", "objectives", "metrics"},  # retrieval ranks with the head that ITM trained
    "data": {"types", "ops"},
    "metrics": set(),
    "checkpoints": MODELS | {"data"},  # a released model holds its tokenizer
    "predict": MODELS | {"data", "checkpoints", "predict_regions"},
    "predict_regions": MODELS | {"data"},
    "engine": MODELS | {"data", "metrics", "checkpoints"},
    "report": {"types", "data", "predict"},
    "search": {"types", "predict"},
    "export": {"types", "predict"},
    "serve": {"types", "predict"},
    "recipes": USE | {"engine", "report", "__init__"},
    "commands": USE | {"engine", "report", "search", "export", "serve", "recipes", "__init__"},
    "processes": {"types"},
    "cli": {"types", "commands", "processes", "__init__"},
    "__init__": USE,  # load() and list_models(), imported when called
    "__main__": {"cli"},
}

LINES_PER_FILE, LINES_PER_FUNCTION = 400, 60
LONG_FILES: dict[str, str] = {}  # path in the repository -> why it may be long


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(REPOSITORY)}:{getattr(node, 'lineno', 1)}"


def part_of(path: Path) -> str:
    """The first name below vlfuse/: vlfuse/data/coco.py and vlfuse/data/scenes/draw.py belong to 'data'."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every part of vlfuse that a file imports, anywhere in it. What is not a part (`vlfuse.load`) counts as '__init__'."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(REPOSITORY).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "vlfuse" else [module]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "vlfuse" and rest != "__version__":
                part = rest.partition(".")[0]
                known = (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()
                yield node, part if part and known else "__init__"


def test_imports_point_one_way():
    wrong = []
    for path in sources("vlfuse"):
        part = part_of(path)
        assert part in MAY_IMPORT, f"{path.relative_to(REPOSITORY)}: say in MAY_IMPORT what '{part}' may import"
        for node, target in imported_parts(path):
            if target != part and target not in MAY_IMPORT[part]:
                wrong.append(f"{place(path, node)}: {part} must not import {target}")
    assert not wrong, "imports against the direction of the house:\n" + "\n".join(wrong)


@pytest.mark.parametrize("folder", ["vlfuse", "tests", "benchmarks", "examples"])
def test_files_stay_short(folder):
    lengths = {path.relative_to(REPOSITORY).as_posix(): path.read_text().count("\n") for path in sources(folder)}
    long = {name: lines for name, lines in lengths.items() if lines > LINES_PER_FILE and name not in LONG_FILES}
    assert not long, f"files above {LINES_PER_FILE} lines (split them where an idea wants its own room): {long}"


def test_allowances_for_long_files_are_in_use():
    for name, reason in LONG_FILES.items():
        assert reason and (REPOSITORY / name).read_text().count("\n") > LINES_PER_FILE, f"{name} needs no allowance"


def test_functions_stay_short():
    long = []
    for path in sources("vlfuse"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LINES_PER_FUNCTION:
                    long.append(f"{place(path, node)}: {node.name} has {lines} lines")
    assert not long, f"functions above {LINES_PER_FUNCTION} lines (give an idea its own name):\n" + "\n".join(long)


def test_nothing_is_loaded_or_caught_blindly():
    """No load_state_dict(strict=False), which hides what did not fit, and no bare except, which hides everything."""
    wrong = []
    for path in sources("vlfuse", "benchmarks", "examples"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{place(path, node)}: bare except; name the errors")
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load_state_dict":
                for keyword in node.keywords:
                    if keyword.arg == "strict" and not (
                        isinstance(keyword.value, ast.Constant) and keyword.value.value
                    ):
                        wrong.append(f"{place(path, node)}: strict=False; map or drop every key by name")
    assert not wrong, "\n".join(wrong)
