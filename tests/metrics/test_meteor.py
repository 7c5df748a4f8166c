"""METEOR's program is asked as it wants to be asked, and what it answers is read; the program itself where it is installed."""

import sys

import pytest

from vlfuse.metrics.meteor import meteor, meteor_where_installed, program

CAPTIONS = ["a man rides a brown horse", "Two dogs.", "A café owner!", ""]
REFERENCES = [
    ["a man is riding a horse", "someone on a horse at the sea", "a rider"],
    ["two dogs"],
    ["a café owner"],
    ["a thing"],
]

# In place of Java: its score of a caption is the share of its words in the first reference, that of the corpus their mean.
SPEAKER = """#!{python}
import sys
assert sys.argv[-6:] == ["-", "-", "-stdio", "-l", "en", "-norm"] and sys.argv[-7] == "{jar}", sys.argv
for line in sys.stdin:
    what, *texts = line.rstrip("\\n").split(" ||| ")
    if what == "SCORE":
        first, caption = texts[0].split(), texts[-1].split()
        print(sum(word in first for word in caption), len(caption), flush=True)
    else:
        scores = [int(text.split()[0]) / max(1, int(text.split()[1])) for text in texts]
        print(*scores, sum(scores) / len(scores), sep="\\n", flush=True)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`java` is the given script, and there is a jar."""

    def install(script: str) -> None:
        jar, java = tmp_path / "meteor-1.5.jar", tmp_path / "bin" / "java"
        jar.write_bytes(b"")
        java.parent.mkdir()
        java.write_text(script.format(python=sys.executable, jar=jar), encoding="utf-8")
        java.chmod(0o755)
        monkeypatch.setenv("METEOR_JAR", str(jar))
        monkeypatch.setenv("PATH", str(java.parent))

    return install


def test_captions_go_with_their_references(installed):
    installed(SPEAKER)
    found = meteor_where_installed(CAPTIONS, REFERENCES)
    assert found["meteor"] == pytest.approx((4 / 6 + 1 + 1 + 0) / 4)


@pytest.mark.parametrize("script", ["#!{python}\n", "#!{python}\nprint('out of memory')\n", "no program"])
def test_a_program_that_fails_costs_the_one_score(installed, script):
    installed(script)
    with pytest.warns(UserWarning, match="METEOR is left out"):
        assert meteor_where_installed(CAPTIONS, REFERENCES) == {}


def test_without_the_program_there_is_no_score(tmp_path, monkeypatch):
    monkeypatch.setenv("METEOR_JAR", str(tmp_path / "none.jar"))
    assert program() is None and meteor_where_installed(CAPTIONS, REFERENCES) == {}


@pytest.mark.skipif(program() is None, reason="needs Java and METEOR's jar (pip install pycocoevalcap)")
def test_the_program_itself():
    """As pycocoevalcap scores the same words."""
    command = program()
    assert command is not None
    hypotheses = [["a", "man", "rides", "a", "brown", "horse", "on", "the", "beach"], ["two", "dogs"], []]
    references = [
        ["a man is riding a horse along the shore", "someone on a horse at the sea"],
        ["two dogs play in the grass", "dogs playing"],
        ["nothing here"],
    ]
    found = meteor(command, hypotheses, [[text.split() for text in group] for group in references])
    assert found == pytest.approx(0.25641949264984215)
