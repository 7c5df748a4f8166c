"""What is in a page of the documentation: blocks of code, the commands among them, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

FENCE = re.compile(r"(?P<marker>^<!-- run -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```", re.M | re.S)
MARKED = re.compile(r"^<!-- run.*?-->$", re.M)
LINK = re.compile(r"!?\[[^]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A block of code. marked: the page says that it runs as it stands, after those marked before it in the page."""

    page: Path
    line: int
    language: str
    text: str
    marked: bool

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    def commands(self) -> Iterator[str]:
        """Whole lines of a shell, those that end in a backslash joined; without blank ones and comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if shlex.split(line, comments=True):
                yield line


def blocks(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(source):
        line = source.count("\n", 0, match.start("text"))
        found.append(Block(page, line, match["language"], match["text"], match["marker"] is not None))
    assert len(MARKED.findall(source)) == sum(block.marked for block in found), f"{page.name}: a marker has no block"
    return found


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return [match["target"] for match in LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    names = (re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", name) for name in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", name).strip().lower().replace(" ", "-") for name in names}
