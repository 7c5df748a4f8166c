"""SNLI-VE (Xie et al. 2019): does a Flickr30k photograph entail a sentence, contradict it, or leave it open?"""

from __future__ import annotations

import os
from pathlib import Path

from vlfuse.data.convert.report import Report, find, rows
from vlfuse.data.schema import STATEMENT_LABELS
from vlfuse.types import Sample, Statement


def convert_snli_ve(source: Path, out: Path) -> Report:
    """source: folder with `snli_ve_SPLIT.jsonl` and Flickr30k's pictures `ID.jpg` anywhere below it.

    Writes `out/SPLIT.jsonl`, one sample a picture with all its sentences. Sentences that the annotators did not agree
    on (label -) are dropped. Pictures stay where they are; the records name them relative to `out`.
    """
    report = Report()
    pictures = {path.stem: path for path in source.glob("**/*.jpg")}
    for listing in find(source, "snli_ve_*.jsonl", "SNLI-VE"):
        split = listing.stem.removeprefix("snli_ve_")
        sentences: dict[str, list[Statement]] = {}
        for row in rows(listing):
            report.read += 1
            name, label = Path(str(row["Flickr30K_ID"])).stem, row.get("gold_label", "")
            if name not in pictures:
                report.dropped["picture is missing"] += 1
            elif label == "-":
                report.dropped["annotators did not agree on a label"] += 1
            elif label and label not in STATEMENT_LABELS[2:]:
                report.dropped[f"label {label!r} is none of {', '.join(STATEMENT_LABELS[2:])}"] += 1
            else:
                report.kept += 1
                sentences.setdefault(name, []).append(Statement(row["sentence2"].strip(), label))
        report.write(
            out / f"{split}.jsonl",
            (
                Sample(name, (os.path.relpath(pictures[name], out),), statements=tuple(found), split=split)
                for name, found in sentences.items()
            ),
        )
    return report
