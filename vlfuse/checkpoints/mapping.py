"""Renaming of foreign weights: every key is mapped, or dropped for a stated reason, or reported as unknown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """A foreign key that fully matches `pattern` becomes `name` (a `re.sub` template) as part `part` of `parts` stacked rows."""

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
    """What became of every key: `mapped` foreign -> ours, `dropped` foreign -> reason, `unknown` foreign keys without a rule,
    `missing` keys of ours that nothing filled, `notes` on tensors that were changed on the way."""

    mapped: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
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
    """Our tensors by name; parts are stacked in order. A name that lacks one of its parts is reported as unknown."""
    whole: dict[str, Tensor] = {}
    pieces: dict[str, dict[int, tuple[str, Tensor]]] = {}
    sizes: dict[str, int] = {}
    for key, tensor in tensors.items():
        target = resolve(key, rules)
        if target is None:
            report.unknown.append(key)
        elif isinstance(target, Drop):
            report.dropped[key] = target.reason
        elif target.parts == 1:
            whole[target.name] = tensor
            report.mapped[key] = target.name
        else:
            pieces.setdefault(target.name, {})[target.part] = (key, tensor)
            sizes[target.name] = target.parts
    for name, parts in pieces.items():
        if len(parts) < sizes[name]:
            report.unknown += [key for key, _ in parts.values()]
            continue
        whole[name] = torch.cat([parts[i][1] for i in range(sizes[name])])
        report.mapped |= {key: name for key, _ in parts.values()}
    return whole
