"""`vlfuse data check|draw|stats|scenes|convert`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from vlfuse.checkpoints.config import unknown
from vlfuse.data.readers import open_dataset
from vlfuse.types import ConfigError

console = Console(highlight=False, soft_wrap=True)
NAMED = 20  # records of one kind that are listed; the rest is counted
LISTED = 12  # most frequent answers and labels


def check(data: Positional[str], tokenizer: str = "", max_text: int = 40) -> int:
    """Read every record, open every picture, and name what a run could not use. The exit code is 1 where there is such.

    Args:
        data: FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES or scenes:N.
        tokenizer: With it, texts that a model would cut off are counted: "scenes", a folder or a hub id.
        max_text: Tokens that the model reads.
    """
    from vlfuse.data.check import check as look
    from vlfuse.data.tokenizer import Tokenizer

    report = look(open_dataset(data), Tokenizer.load(tokenizer) if tokenizer else None, max_text)
    for problem in report.problems:
        console.print(f"unusable ({problem.kind}): {problem}", markup=False)
    for remark, origins in report.remarks.items():
        rest = f" and {len(origins) - NAMED} more" if len(origins) > NAMED else ""
        console.print(f"{remark}: {', '.join(origins[:NAMED])}{rest}", markup=False)
    if report.truncated:
        console.print(
            f"{report.truncated} of {report.texts} texts are longer than {max_text} tokens; their ends are cut off"
        )
    console.print(
        f"{report.usable} of {report.samples} samples are usable: {report.pictures} pictures, {report.texts} texts"
    )
    return 1 if report.problems else 0


def draw(data: Positional[str], out: Path = Path("sheet.png"), number: int = 12, seed: int = 0) -> None:
    """Draw a contact sheet of samples with their texts and boxes.

    Args:
        data: FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES or scenes:N.
        out: Picture to write.
        number: Samples to draw.
        seed: Which samples.
    """
    from vlfuse.data.check import draw as sheet

    out.parent.mkdir(parents=True, exist_ok=True)
    sheet(open_dataset(data), number, seed).save(out)
    console.print(f"wrote {out}")


def stats(data: Positional[str]) -> None:
    """Count what a data set holds: pictures, texts and their lengths, answers, labels.

    Args:
        data: FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES or scenes:N.
    """
    from vlfuse.data.check import stats as count

    found = count(open_dataset(data))
    table = Table("what", "number", "most frequent", title=f"{found.samples} samples, {found.unusable} unusable")
    for kind, number in found.items.items():
        lengths = found.words.get(kind)
        mean = f"{sum(n * times for n, times in lengths.items()) / lengths.total():.1f} words each" if lengths else ""
        table.add_row(kind, str(number), mean)
    for kind, counts in (("answers", found.answers), ("labels", found.statements), ("regions", found.regions), ("splits", found.splits)):  # fmt: skip
        named = ", ".join(f"{name or 'none'} {n / counts.total():.1%}" for name, n in counts.most_common(LISTED))
        if counts:
            table.add_row(f"different {kind}", str(len(counts)), named)
    console.print(table)


def scenes(
    out: Path,
    n: int = 1000,
    seed: int = 0,
    split: Literal["train", "val", "test", "novel"] = "train",
    size: int = 96,
    paired: bool = False,
    entailment: bool = False,
) -> None:
    """Write generated scenes as pictures and one JSONL file.

    Args:
        out: Folder to write.
        n: How many.
        seed: Which; the same seed gives the same scenes.
        split: No set of things of one split is ever in another; novel holds combinations that the others lack.
        size: Pixels a side.
        paired: Two pictures a sample, with statements about both.
        entailment: Statements that are entailed, contradicted or left open.
    """
    from vlfuse.data.scenes.write import write_scenes

    console.print(f"wrote {write_scenes(out, n, seed, split, size, paired, entailment)}")


def convert(format: Positional[str], source: Positional[Path], out: Path) -> None:
    """Make JSONL of a public data set: arrow, coco, conceptual-captions, easy-vqa, gqa, karpathy, nlvr1, nlvr2, sbu, snli-ve,
    vg-captions, vg-qa, vqa-rad, vqa-v2.

    Args:
        format: What the source is.
        source: Its folder.
        out: Folder to write.
    """
    from vlfuse.data.convert import CONVERTERS

    if format not in CONVERTERS:
        raise ConfigError(unknown(f"format '{format}'", format, CONVERTERS))
    report = CONVERTERS[format](source, out)
    console.print(f"{report.kept} of {report.read} rows kept")
    for reason, number in report.dropped.items():
        console.print(f"{number} dropped: {reason}")
    for file, number in report.written.items():
        console.print(f"wrote {number} samples to {file}")


COMMANDS = {"check": check, "draw": draw, "stats": stats, "scenes": scenes, "convert": convert}


def main(arguments: Sequence[str]) -> int | None:
    return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="vlfuse data", args=arguments)
