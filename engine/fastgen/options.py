"""One source for options: a frozen dataclass whose fields carry a docstring underneath.

From it come the keyword arguments of `fastgen.pipeline`, the flags of `fastgen serve --help`, the
reference in docs/, and the errors. A field looks like this:

    dtype: str = "auto"
    \"\"\"Weights and activations: auto, float32, bfloat16 or float16.\"\"\"

Supported field types: bool, int, float, str, and each of them `| None`; `Literal[...]` for choices.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from fastgen.errors import UnknownOptionError, UsageError

ConfigT = TypeVar("ConfigT")


class Option(NamedTuple):
    """One field, as help and documentation need it."""

    name: str
    kind: type
    optional: bool
    choices: tuple[str, ...]
    default: Any
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def field_docs(config: type[Any]) -> dict[str, str]:
    """The docstring under each field of `config` and of the dataclasses it extends, by field name."""
    docs: dict[str, str] = {}
    for owner in reversed(config.__mro__):
        if dataclasses.is_dataclass(owner):
            docs |= _own_field_docs(owner)
    return docs


def _own_field_docs(config: type[Any]) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(config)))
    docs: dict[str, str] = {}
    for field, below in itertools.pairwise(typing.cast(ast.ClassDef, tree.body[0]).body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            docs[field.target.id] = inspect.cleandoc(str(below.value.value))
    return docs


def options_of(config: type[Any]) -> tuple[Option, ...]:
    """Every option of a config dataclass, in order."""
    if config not in _KNOWN:
        _KNOWN[config] = _read_options(config)
    return _KNOWN[config]


_KNOWN: dict[type[Any], tuple[Option, ...]] = {}


def _read_options(config: type[Any]) -> tuple[Option, ...]:
    hints = typing.get_type_hints(config)
    docs = field_docs(config)
    found = []
    for field in dataclasses.fields(config):
        kind, optional, choices = _resolve(hints[field.name])
        default = None if field.default is dataclasses.MISSING else field.default
        found.append(Option(field.name, kind, optional, choices, default, docs.get(field.name, "")))
    return tuple(found)


def _resolve(hint: Any) -> tuple[type, bool, tuple[str, ...]]:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        kind, _, choices = _resolve(inner[0])
        return kind, True, choices
    if typing.get_origin(hint) is Literal:
        return str, False, tuple(args)
    return hint, False, ()


def add_options(
    parser: argparse.ArgumentParser, config: type, *, title: str | None = None, leave_out: Collection[str] = ()
) -> None:
    """Give `parser` one flag per field, save those to `leave_out`; the field's docstring is its help."""
    group = parser.add_argument_group(title) if title else parser
    for option in options_of(config):
        if option.name in leave_out:
            continue
        text = option.help.replace("%", "%%")
        if option.kind is bool:
            group.add_argument(option.flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
            continue
        shown = "none" if option.default is None else option.default
        group.add_argument(
            option.flag,
            type=functools.partial(_parse, option),
            choices=option.choices or None,
            default=argparse.SUPPRESS,
            metavar=None if option.choices else option.name.rsplit("_", 1)[-1].upper(),
            help=f"{text} (default: {shown})",
        )


def _parse(option: Option, text: str) -> Any:
    if option.optional and text.lower() == "none":
        return None
    try:
        return option.kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{option.flag} takes {option.kind.__name__}, got {text!r}") from None


def from_namespace(config: type[ConfigT], namespace: argparse.Namespace, **more: Any) -> ConfigT:
    """Build `config` from parsed flags; flags that were not given keep their defaults."""
    names = {option.name for option in options_of(config)}
    given = {k: v for k, v in vars(namespace).items() if k in names}
    return from_mapping(config, {**given, **more}, where="the command line")


def from_mapping(config: type[ConfigT], values: Mapping[str, Any], *, where: str) -> ConfigT:
    """Build `config` from keyword arguments.

    Raises UnknownOptionError with the nearest name, or UsageError for a value of the wrong kind.
    """
    known = {option.name: option for option in options_of(config)}
    for name, value in values.items():
        if name not in known:
            raise UnknownOptionError(name, known, where)
        _check(known[name], value, where)
    return config(**values)


def _check(option: Option, value: Any, where: str) -> None:
    if value is None and (option.optional or option.default is None):
        return
    if option.choices and value not in option.choices:
        raise UsageError(f"{option.name}={value!r} for {where}: allowed are {', '.join(option.choices)}")
    if typing.get_origin(option.kind) is tuple:
        _check_items(option, value, where)
        return
    right = isinstance(value, option.kind) or (option.kind is float and isinstance(value, int))
    if not right or (isinstance(value, bool) and option.kind is not bool):
        raise UsageError(
            f"{option.name}={value!r} for {where}: expected {option.kind.__name__}, got {type(value).__name__}"
        )


def _check_items(option: Option, value: Any, where: str) -> None:
    """A field such as `stop: tuple[str, ...]`, which only Python sets."""
    item = typing.get_args(option.kind)[0]
    if not isinstance(value, tuple) or not all(isinstance(v, item) and not isinstance(v, bool) for v in value):
        raise UsageError(f"{option.name}={value!r} for {where}: expected a tuple of {item.__name__}")
