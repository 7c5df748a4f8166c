"""METEOR 1.5 (Denkowski and Lavie 2014) by its own program, where that is installed.

Its alignments need tables of synonyms and paraphrases, so it is not computed anew here: the program is what published scores are by.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

from vlfuse.metrics.caption import Words
from vlfuse.metrics.words import caption_words

JAR = "meteor-1.5.jar"
MARK = "|||"  # separates texts on a line that the program reads


def program() -> list[str] | None:
    """The command that starts it: Java, and the jar that the variable METEOR_JAR names or the package `pycocoevalcap` holds."""
    java, jar = shutil.which("java"), os.environ.get("METEOR_JAR", "")
    if not jar and (found := importlib.util.find_spec("pycocoevalcap")) and found.submodule_search_locations:
        jar = str(Path(found.submodule_search_locations[0]) / "meteor" / JAR)
    if java is None or not Path(jar).is_file():
        return None
    return [java, "-Xmx2G", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-jar", jar]


def meteor_where_installed(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """{"meteor": score in [0, 1]} of raw captions, or nothing where the program is missing; where it fails, a warning says so."""
    command = program()
    if command is None:
        return {}
    hypotheses = [caption_words(caption) for caption in captions]
    try:
        return {
            "meteor": meteor(command, hypotheses, [[caption_words(text) for text in group] for group in references])
        }
    except (OSError, ValueError) as error:
        warnings.warn(f"METEOR is left out: {error}", stacklevel=2)
        return {}


def meteor(command: Sequence[str], hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Of a corpus, in [0, 1]. command: of `program`. Raises OSError or ValueError where the program does not answer as it should."""
    ask = [*command, "-", "-", "-stdio", "-l", "en", "-norm"]
    with subprocess.Popen(
        ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def tell(*texts: str) -> None:
            process.stdin.write(f" {MARK} ".join(texts) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        def answer() -> str:
            line = process.stdout.readline()  # type: ignore[union-attr]
            if not line:
                raise ValueError(f"{' '.join(command)} stopped before it had scored all captions")
            return line.strip()

        counts = []
        for hypothesis, group in zip(hypotheses, references, strict=True):
            tell("SCORE", *(" ".join(words) for words in (*group, hypothesis)))
            counts.append(answer())
        tell("EVAL", *counts)
        for _ in counts:
            answer()  # the score of one caption
        return float(answer())
