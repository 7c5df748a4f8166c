"""Frozen dataclasses of configuration to plain JSON values and back, strictly: what is not known is an error."""

import types
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vlfuse.types import ConfigError

C = TypeVar("C")


def config_to_dict(config: Any) -> dict[str, Any]:
    """A dataclass of numbers, strings, None, tuples, dicts and dataclasses as JSON values; tuples become lists."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return config_to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def config_from_dict(kind: type[C], values: Any, where: str = "") -> C:
    """The dataclass `kind` from what `config_to_dict` made; absent fields take their defaults.

    where: the path of `values` in the file, for error messages. Raises ConfigError on an unknown key (naming the
    closest one), an absent value without default and a value of another type.
    """
    where = where or kind.__name__
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {values!r}; it must be an object of keys and values")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(unknown(f"{where}.{key}", key, known))
    absent = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if absent:
        raise ConfigError(f"{where} lacks {', '.join(absent)}")
    hints = get_type_hints(kind)
    return kind(**{key: _typed(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def unknown(what: str, name: str, allowed: Any) -> str:
    """The words for a name that is none of `allowed`."""
    close = get_close_matches(name, list(allowed), n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{what} is unknown; {hint}allowed: {', '.join(sorted(allowed))}"


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return config_from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(
                _typed(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
            )
    elif origin is dict and isinstance(value, dict):
        return {key: _typed(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    elif origin is Literal:
        if value in arguments:
            return value
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif type(value) is hint or (hint in (None, types.NoneType) and value is None):
        return value
    raise ConfigError(f"{where} is {value!r}; it must be {getattr(hint, '__name__', hint) if not arguments else hint}")


def _first_that_fits(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    failures = []
    for kind in kinds:
        try:
            return _typed(kind, value, where)
        except ConfigError as error:
            failures.append(str(error))
    raise ConfigError("; or ".join(failures))
