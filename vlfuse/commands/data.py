"""`vlfuse data check|draw|stats|scenes|convert|leaks`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from vlfuse.checkpoints.config import unknown
from vlfuse.checkpoints.hub import model_config, resolve_model
from vlfuse.data.readers import open_dataset
from vlfuse.types import ConfigError, Sample

console = Console(highlight=False, soft_wrap=True)
NAMED = 20  # records of one kind that are listed; the rest is counted
LISTED = 12  # most frequent answers and labels


def check(data: Positional[str], model: str = "", tokenizer: str = "", max_text: int = 40) -> int:
    """Read every record, open every picture, and name what a run could not use. The exit code is 1 where there is such.

    Args:
        data: FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES or scenes:N.
        model: With it, texts that this model would cut off are counted: a name, a folder or a hub id.
        tokenizer: The same where there is no model yet: "scenes", a folder or a hub id.
        max_text: Tokens that the model to come will read.
    """
    from vlfuse.data.check import check as look
    from vlfuse.data.tokenizer import Tokenizer

    if model and tokenizer:
        raise ConfigError("--model has a tokenizer of its own; leave --tokenizer out")
    if model:
        tokenizer, max_text = str(resolve_model(model)), model_config(model).preprocessing.max_text
    report = look(open_dataset(data), Tokenizer.load(tokenizer) if tokenizer else None, max_text)
    for problem in report.problems:
        console.print(f"unusable ({problem.kind}): {problem}", markup=False)
    for reason, number in report.left_out.items():
        console.print(f"left out {number} times: {reason}")
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
    trays: bool = False,
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
        trays: Three trays with loose things or towers, as in NLVR, with true/false statements; four times as wide as high.
    """
    from vlfuse.data.scenes.write import write_scenes

    console.print(f"wrote {write_scenes(out, n, seed, split, size, paired, entailment, trays)}")


def convert(format: Positional[str], source: Positional[Path], out: Path) -> None:
    """Make JSONL of a public data set: arrow, coco, conceptual-captions, easy-vqa, flickr30k, gqa, karpathy, lvis,
    mdetr (mixed grounding, also of Flickr30k and RefCOCO), nlvr1, nlvr2, objects365, odvg, open-images, refcoco, sbu,
    snli-ve, vg-captions, vg-qa, vg-qa-for-vqa, visual-genome, vqa-rad, vqa-v2.

    Args:
        format: What the source is.
        source: Its folder.
        out: Folder to write.
    """
    from vlfuse.data.convert import CONVERTERS
    from vlfuse.data.convert import convert as run

    if format not in CONVERTERS:
        raise ConfigError(unknown(f"format '{format}'", format, CONVERTERS))
    report = run(format, source, out)
    console.print(f"{report.kept} of {report.read} rows kept")
    for reason, number in report.dropped.items():
        console.print(f"{number} dropped: {reason}")
    for trouble, number in report.boxes.items():
        console.print(f"{number} times: {trouble}")
    for file, number in report.written.items():
        console.print(f"wrote {number} samples to {file}")


def leaks(
    training: Positional[str],
    held_out: Positional[tuple[str, ...]],
    content: bool = False,
    visual_genome: Path | None = None,
    out: Path | None = None,
) -> int:
    """Look for pictures of held-out data in training data, such as those of RefCOCO in COCO.
    The exit code is 1 where there are such.

    Args:
        training: What a model learns from: FILE.jsonl, SHARDS.tar, COCO FILE.json@IMAGES.
        held_out: What it is tested on; any number.
        content: Open all pictures and compare what they show, too; else by names and COCO numbers.
        visual_genome: Its image_data.json, which tells the COCO numbers of its pictures.
        out: JSONL to write, the training data without the pictures found.
    """
    from vlfuse.data.classes import usable
    from vlfuse.data.convert.report import read_json
    from vlfuse.data.leaks import find_leaks, visual_genome_numbers
    from vlfuse.data.schema import write_jsonl

    if not held_out:
        raise ConfigError("name the held-out data after the training data, such as refcoco/val.jsonl")
    numbers = visual_genome_numbers(read_json(visual_genome)) if visual_genome else None
    learnt, found = open_dataset(training), set()
    for spec in held_out:
        leaked = list(find_leaks(learnt, open_dataset(spec), content, numbers))
        found.update(leak.training.origin for leak in leaked)
        for leak in leaked[:NAMED]:
            console.print(f"{leak.training.origin} is {leak.held_out.origin} (by {leak.by})", markup=False)
        if len(leaked) > NAMED:
            console.print(f"and {len(leaked) - NAMED} more")
        console.print(f"{len(leaked)} of {len(learnt)} samples of {training} have pictures of {spec}", markup=False)
    if out:
        clean = (_beside(out, sample) for _, sample in usable(learnt) if sample.origin not in found)
        console.print(f"wrote {write_jsonl(str(out), clean)} samples to {out}")
    return 1 if found else 0


def _beside(file: Path, sample: Sample) -> Sample:
    """With the paths of its pictures relative to `file`."""
    paths = (source if "://" in str(source) else os.path.relpath(str(source), file.parent) for source in sample.images)
    # `write_jsonl` refuses pictures in memory with its reason.
    in_memory = any(not isinstance(source, str) for source in sample.images)
    return sample if in_memory else replace(sample, images=tuple(paths))


COMMANDS = {"check": check, "draw": draw, "stats": stats, "scenes": scenes, "convert": convert, "leaks": leaks}


def main(arguments: Sequence[str]) -> int | None:
    return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="vlfuse data", args=arguments)
