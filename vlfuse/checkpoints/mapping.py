"""Renaming of foreign weights: every key is mapped, or dropped for a stated reason, or reported as unknown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vlfuse.types import CheckpointError

LISTED = 12  # names an error message shows before it only counts


@dataclass(frozen=True)
class Rule:
    """A foreign key that fully matches `pattern` becomes `name` (a `re.sub` template)
    as part `part` of `parts` stacked rows."""

    pattern: str
    name: str
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Drop:
    """A foreign key that fully matches `pattern` is left out because of `reason`."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class Target:
    """Where a foreign tensor goes: rows [part/parts, (part+1)/parts) of our tensor `name`."""

    name: str
    part: int
    parts: int

    def of(self, tensor: Tensor) -> Tensor:
        """This target's rows of our tensor (a view)."""
        return tensor if self.parts == 1 else tensor.chunk(self.parts)[self.part]


@dataclass
class Report:
    """What became of every key: `mapped` foreign -> ours, `dropped` foreign -> reason, `unknown` foreign keys without a
    rule, `missing` ours that nothing filled -> reason, `notes` on what the user should know."""

    mapped: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def resolve(key: str, rules: Sequence[Rule | Drop]) -> Target | Drop | None:
    """The first rule that matches decides; None when there is none."""
    for rule in rules:
        match = re.fullmatch(rule.pattern, key)
        if match and isinstance(rule, Drop):
            return rule
        if match and isinstance(rule, Rule):
            return Target(match.expand(rule.name), rule.part, rule.parts)
    return None


def rename(tensors: Mapping[str, Tensor], rules: Sequence[Rule | Drop], report: Report) -> dict[str, Tensor]:
    """Our tensors by name; parts are stacked in order. A name that lacks one of its parts is reported as unknown.

    Raises CheckpointError when two foreign keys claim the same place.
    """
    whole: dict[str, Tensor] = {}
    pieces: dict[str, dict[int, str]] = {}
    sizes: dict[str, int] = {}
    for key in tensors:
        target = resolve(key, rules)
        if target is None:
            report.unknown.append(key)
        elif isinstance(target, Drop):
            report.dropped[key] = target.reason
        else:
            taken = pieces.setdefault(target.name, {})
            if target.part in taken:
                raise CheckpointError(f"both {taken[target.part]} and {key} would become {target.name}")
            taken[target.part] = key
            sizes[target.name] = target.parts
    for name, parts in pieces.items():
        if len(parts) < sizes[name]:
            report.unknown += parts.values()
            continue
        ordered = [tensors[parts[i]] for i in range(sizes[name])]
        whole[name] = ordered[0] if len(ordered) == 1 else torch.cat(ordered)
        report.mapped |= {key: name for key in parts.values()}
    return whole


def invert(name: str, rules: Sequence[Rule | Drop]) -> dict[str, Target]:
    """The foreign keys of our tensor `name`, each with the rows it holds; empty when no rule leads there.

    A rule is read backwards: its template becomes the pattern and its pattern the template.
    """
    keys: dict[str, Target] = {}
    found: set[int] = set()
    for rule in rules:
        if isinstance(rule, Drop) or rule.part in found:
            continue
        groups = re.findall(r"(\((?!\?)[^()]*\)\??)", rule.pattern)
        literal = re.split(r"\\(\d)", rule.name)  # text, group number, text, ...
        order = [int(number) for number in literal[1::2]]
        match = re.fullmatch(
            "".join(re.escape(piece) if i % 2 == 0 else groups[int(piece) - 1] for i, piece in enumerate(literal)), name
        )
        if match is None:
            continue
        captured = {number: match[i + 1] or "" for i, number in enumerate(order)}
        numbers = iter(range(1, len(groups) + 1))
        key = re.sub(r"\(\?:[^()]*\)\?", "", rule.pattern)  # an optional part without a group is left out
        key = re.sub(r"\((?!\?)[^()]*\)\??", lambda _, c=captured, n=numbers: c[next(n)], key).replace("\\", "")
        target = Target(name, rule.part, rule.parts)
        if resolve(key, rules) == target:
            keys[key] = target
            found.add(rule.part)
    return keys


def require_known(report: Report, source: str) -> None:
    """Raise CheckpointError when a key was neither mapped nor dropped."""
    if report.unknown:
        raise CheckpointError(
            f"{source}: {len(report.unknown)} keys have no place in this model and no reason to be left out: "
            f"{listed(report.unknown)}"
        )


def require_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError that lists what is missing, unexpected or of another shape."""
    problems = []
    for title, names in (("missing", expected.keys() - given.keys()), ("unexpected", given.keys() - expected.keys())):
        if names:
            problems.append(f"{len(names)} {title}: {listed(sorted(names))}")
    shapes = [
        f"{name} is {list(given[name].shape)}, the model has {list(expected[name].shape)}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    if shapes:
        problems.append(f"{len(shapes)} of another shape: {listed(shapes, '; ')}")
    if problems:
        raise CheckpointError(f"{source} does not fit the model. " + ". ".join(problems))


def listed(names: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return separator.join(names[:LISTED]) + more


def report_text(report: Report) -> str:
    """The report for people: counts, then what was dropped or is missing by reason, notes, and every mapped key."""
    counts = f"{len(report.mapped)} mapped, {len(report.dropped)} dropped, {len(report.missing)} missing, {len(report.unknown)} unknown"
    lines = [counts]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"unknown: {key}" for key in report.unknown]
    for title, reasons in (("dropped", report.dropped), ("missing", report.missing)):
        by_reason: dict[str, list[str]] = {}
        for key, reason in reasons.items():
            by_reason.setdefault(reason, []).append(key)
        for reason, keys in by_reason.items():
            lines.append(f"{title} because {reason}: {len(keys)}")
            lines += [f"  {key}" for key in keys]
    lines.append(f"mapped: {len(report.mapped)}")
    lines += [f"  {theirs} -> {ours}" for theirs, ours in report.mapped.items()]
    return "\n".join(lines)
