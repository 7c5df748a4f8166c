"""The documentation tells the truth: what it marks as runnable runs, all other commands name what there is, links lead somewhere.

A block that follows `<!-- run -->` runs, those of one page in one folder in their order, with fewer steps than a reader would take
(`CUT`).
"""

import ast
import json
import re
import runpy
import shlex
import subprocess
import tomllib
from importlib import import_module

import pytest

import vlfuse as package
from tests.e2e.dry import one_process, only_read
from tests.e2e.pages import PAGES, REPOSITORY, Block, anchors, blocks, links, prose
from vlfuse.cli import COMMANDS
from vlfuse.data.schema import parse_sample
from vlfuse.engine.evaluate import EVALUATIONS
from vlfuse.predict import Predictor
from vlfuse.recipes import RECIPES
from vlfuse.recipes.finetune import CAPTION_RATES
from vlfuse.recipes.plans import BRIDGETOWER, FIBER

CUT = {
    "train": ["--steps", "1"],
    "demo": ["--minutes", "0.001"],
    "transfer": ["--steps", "1"],
}  # added behind all options
SHELL = {"cd", "git", "hf", "head", "mkdir", "pip", "tail"}  # what else a reader is told to call
ALL = [block for page in PAGES for block in blocks(page)]


def named(found: list[Block]) -> list:
    return [pytest.param(block, id=block.place) for block in found]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.marked for block in blocks(page))], ids=lambda page: page.name
)
def test_marked_blocks_run(page, vlfuse, tmp_path, monkeypatch):
    one_process(monkeypatch)
    names: dict = {}
    for block in filter(lambda block: block.marked, blocks(page)):
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)
        else:
            for line in block.commands():
                run(line, block, vlfuse)


def run(line: str, block: Block, vlfuse) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "vlfuse":
        code, _, err = vlfuse(*arguments, *CUT.get(arguments[0], ()))
        assert code == 0, f"{block.place}: {line}\n{err}"
    elif program == "python":
        runpy.run_path(str(REPOSITORY / arguments[0]))["main"](*arguments[1:])
    else:
        subprocess.run(line, shell=True, check=True)


@pytest.mark.parametrize("block", named([block for block in ALL if block.language == "sh"]))
def test_commands_name_what_there_is(block, vlfuse, monkeypatch):
    only_read(monkeypatch)
    for line in block.commands():
        words = shlex.split(line, comments=True)
        ends = [place for place, word in enumerate(words) if word == "&&"]
        for start, end in zip([0, *(place + 1 for place in ends)], [*ends, len(words)], strict=True):
            read(words[start:end], block, vlfuse)


def read(words: list[str], block: Block, vlfuse) -> None:
    """Raise where a command does not exist or does not take these arguments."""
    words = words[next(place for place, word in enumerate(words) if "=" not in word) :]  # behind its environment
    if "vlfuse.cli" in words:  # python or torchrun -m vlfuse.cli
        words = ["vlfuse", *words[words.index("vlfuse.cli") + 1 :]]
    if words[0].startswith("--"):  # what can be added to a run
        words = ["vlfuse", "train", "detection", *words]
    if words[0] == "vlfuse" and len(words) > 1:
        code, _, err = vlfuse(*words[1:])
        assert code == 0, f"{block.place}: {shlex.join(words)}\n{err}"
    elif words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        makefile = (REPOSITORY / "Makefile").read_text()
        assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets), f"{block.place}: {words}"
    elif words[0] == "python" and words[1] != "-c":
        script = (REPOSITORY / words[1]).read_text()
        assert all(f'"{word}"' in script for word in words if word.startswith("--")), f"{block.place}: {words}"
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[(\w+)\]", words[2])
        known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras) <= known.keys(), f"{block.place}: {words}"
    else:
        assert words[0] in {"vlfuse", "python"} | SHELL, f"{block.place}: what is {words[0]}?"


@pytest.mark.parametrize("block", named([block for block in ALL if block.language == "python"]))
def test_python_names_what_there_is(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vlfuse"):
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), f"{block.place}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = {"vlfuse": package, "model": Predictor}.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), f"{block.place}: {ast.unparse(node)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_records_can_be_read(page):
    """JSON in blocks and, from `{"image` on, in the text."""
    records = [block.text for block in blocks(page) if block.language == "json"]
    for text in [*records, *re.findall(r'`(\{"image.*?\})`', prose(page))]:
        for record in [text] if _whole(text) else text.splitlines():
            parse_sample(json.loads(record), f"{page.name}: {record}")


def _whole(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in links(page):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        goal = (page.parent / file).resolve() if file else page
        assert goal.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(goal), f"{page.name}: {target}"


def test_nothing_is_left_out():
    """Every recipe is in the list of recipes, every command on the page of commands, every score that `eval` knows on that of tasks."""
    for page, names in (("training", RECIPES), ("tasks", EVALUATIONS)):
        text = (REPOSITORY / "docs" / f"{page}.md").read_text()
        assert all(f"`{name}`" in text for name in names), [name for name in names if f"`{name}`" not in text]
    told = {
        line.split()[1]
        for block in blocks(REPOSITORY / "docs" / "cli.md")
        for line in block.commands()
        if "vlfuse " in line
    }
    told |= {"train"}  # has a page of its own
    assert told >= COMMANDS.keys(), COMMANDS.keys() - told


@pytest.mark.parametrize(
    ("heading", "plans", "rows"), [("FIBER, coarse stage", FIBER, 7), ("BridgeTower", BRIDGETOWER, 5)]
)
def test_published_settings_are_those_of_the_recipes(heading, plans, rows):
    """docs/recipes.md against the plans; columns beyond these are named alike."""
    section = (REPOSITORY / "docs" / "recipes.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    header = next(line for line in lines if line[0] == "recipe")
    told = [dict(zip(header, line, strict=True)) for line in lines if line[0].startswith("`")]
    assert len(told) == rows
    for row in told:
        recipe, _, way = row["recipe"].strip("`").partition(" ")
        plan = plans[way.removeprefix("--by ").replace("both", "itc") if recipe == "retrieval" else recipe]
        rate = CAPTION_RATES[way.removeprefix("--learn ")] if recipe == "caption" else plan.lr or 2e-5
        names = {"pixels": plan.image_size, "tokens": plan.max_text, "batch": plan.batch_size, "epochs": plan.epochs}
        names |= {
            "rate": rate,
            "heads x": plan.head_multiplier,
            "warm-up": plan.warmup,
            "weight decay": plan.weight_decay,
        }
        for name, cell in row.items():
            assert name == "recipe" or float(cell) == names[name], f"{row['recipe']}: {name} is {names[name]}"


def test_the_reference_is_up_to_date():
    made = runpy.run_path(str(REPOSITORY / "docs" / "make_api.py"))["page"]()
    assert (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8") == made, "run `python docs/make_api.py`"
    assert all(f"vlfuse.recipes.{recipe.__name__}\n" in made for recipe in RECIPES.values())


def test_every_page_is_found():
    """From the index in one step, and from the read-me."""
    docs = set((REPOSITORY / "docs").glob("*.md"))
    index = REPOSITORY / "docs" / "index.md"
    assert {index.parent / target for target in links(index)} >= docs - {index}
    assert index in {REPOSITORY / target for target in links(REPOSITORY / "README.md")}
