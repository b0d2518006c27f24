"""Turn msgspec's refusal of a profile section into the file, the line and what would have been right.

Imported only when a profile is wrong. msgspec says `$.users[...].rtprio`; this walks the types and the YAML
nodes together to the value that is really wrong.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

from hosttune.profile.nodes import Node, plain


def explain(kind: Any, node: Node, path: str, error: str) -> str:
    """One line: `FILE:LINE: KEY: what was found; what is allowed`.

    `error` is msgspec's message, kept for the case that no single value is to blame.
    """
    return _descend(kind, node, path) or f"{node.place}: {path}: {_bare(error)}"


def allowed(found: str, names: Iterable[str]) -> str:
    """`did you mean X? allowed: A, B, C`."""
    import difflib

    names = sorted(names)
    close = difflib.get_close_matches(found, names, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"{guess}allowed: {', '.join(names)}"


def _descend(kind: Any, node: Node, path: str) -> str | None:
    """Describe the innermost value that does not convert, or None if this one does."""
    value = plain(node)
    try:
        msgspec.convert(value, kind)
        return None
    except msgspec.ValidationError as error:
        message = _bare(str(error))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated and isinstance(node.value, dict | list):
        return _descend(arguments[0], node, path)
    if origin in (typing.Union, types.UnionType):
        fitting = [part for part in arguments if _fits(part, node.value)]
        if len(fitting) == 1:
            return _descend(fitting[0], node, path)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(node.value, dict):
        return _in_struct(kind, node, path) or f"{node.place}: {path}: {message}"
    elif origin is dict and isinstance(node.value, dict):
        for key, item in node.value.items():
            if problem := _descend(arguments[1], item, f"{path}.{key}"):
                return problem
            try:
                msgspec.convert(key, arguments[0])
            except msgspec.ValidationError:
                return f"{item.place}: {path}: key {key!r} is not allowed; wanted {describe(arguments[0])}"
        return f"{node.place}: {path}: {message}"
    elif origin in (list, tuple) and isinstance(node.value, list):
        for index, item in enumerate(node.value):
            part = arguments[index] if origin is tuple and arguments[-1] is not Ellipsis else arguments[0]
            if problem := _descend(part, item, f"{path}[{index}]"):
                return problem
        return f"{node.place}: {path}: {message}"
    hint = ""
    if isinstance(value, bool):
        hint = " (YAML 1.1 reads on, off, yes and no as true and false: quote the word if you meant text)"
    elif isinstance(value, int | float) and _fits(kind, ""):
        hint = f" (quote it: '{value}')"
    elif isinstance(value, str) and value.lstrip("-").isdigit() and _fits(kind, 1):
        hint = " (remove the quotes)"
    return f"{node.place}: {path}: found {_show(value)}; wanted {describe(kind)}{hint}"


def _in_struct(kind: type[msgspec.Struct], node: Node, path: str) -> str | None:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, item in node.value.items():
        if key not in fields:
            return f"{item.place}: unknown key {path}.{key}; {allowed(key, fields)}"
        if problem := _descend(hints[fields[key].name], item, f"{path}.{key}"):
            return problem
    for name, field in fields.items():
        if field.required and name not in node.value:
            return f"{node.place}: {path}.{name} is missing; wanted {describe(hints[field.name])}"
    return None


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value of this Python type could be meant for this annotation."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _fits(arguments[0], value)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(part, value) for part in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(choice) for choice in arguments)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return isinstance(value, dict)
    kind = origin or kind
    if isinstance(value, bool):
        return kind is bool
    return isinstance(kind, type) and isinstance(value, kind)


def describe(kind: Any) -> str:
    """Say in words which values an annotation allows."""
    return _words(inspect.type_info(kind))


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.UnionType():
            return " or ".join(_words(part) for part in info.types if not isinstance(part, inspect.NoneType))
        case inspect.LiteralType():
            return "one of " + ", ".join(str(choice) for choice in info.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            word = "an integer" if isinstance(info, inspect.IntType) else "a number"
            return f"{word}{_bounds(info)}"
        case inspect.StrType():
            return f"text matching {info.pattern}" if info.pattern else "text"
        case inspect.ListType() | inspect.VarTupleType():
            return f"a list of: {_words(info.item_type)}"
        case inspect.DictType():
            return f"a mapping of {_words(info.key_type)} to {_words(info.value_type)}"
        case inspect.StructType():
            return "a mapping with the keys " + ", ".join(sorted(field.encode_name for field in info.fields))
        case inspect.Metadata():
            return _words(info.type)
    return type(info).__name__.removesuffix("Type").lower()


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    words = ((info.ge, "at least"), (info.gt, "more than"), (info.le, "at most"), (info.lt, "less than"))
    if info.ge is not None and info.le is not None:
        return f" from {info.ge} to {info.le}"
    parts = [f"{word} {bound}" for bound, word in words if bound is not None]
    return f" of {' and '.join(parts)}" if parts else ""


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"the text {value!r}" if isinstance(value, str) else f"the number {value}"


def _bare(message: str) -> str:
    """msgspec's message without its own path."""
    return message.rpartition(" - at `$")[0] or message
