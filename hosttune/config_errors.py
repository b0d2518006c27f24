"""Turn msgspec's refusal of a configuration into one line: file, line, key, what was found, what is allowed.

msgspec says `$.users[...].rtprio`. :func:`explain` walks types and values together to the value that is
really wrong; where it is written, the caller tells, or for TOML :func:`explain_toml` finds out. Import this
module only when a configuration is wrong.

    try:
        msgspec.convert(tomllib.loads(text), Config)
    except msgspec.ValidationError as error:
        raise ConfigError(explain_toml(error, Config, text, "agent.toml")) from None

    agent.toml:7: unknown key feed.adress; did you mean address? allowed: address, b, book
    agent.toml:9: feed.port: found the text '99999'; wanted an integer from 1 to 65535 (remove the quotes)
    agent.toml:4: risk.max_size is missing; wanted an integer from 1 to 999999
"""

from __future__ import annotations

import itertools
import time
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from hosttune.refusals import Key, KeyRefused, SeveralRefused

# Seconds. A statement of ten thousand lines has ten thousand ends that it could have.
_PATIENCE = 0.5

_YAML_SWITCH = " (YAML 1.1 reads on, off, yes and no as true and false: quote the word if you meant text)"


class Problem(NamedTuple):
    """`at` is the key whose place is named; `words` say the rest of the line."""

    at: Key
    words: str


def explain(
    error: Exception | str,
    kind: Any,
    value: Any,
    locate: Callable[[Key], str],
    *,
    name: str = "",
    syntax: typing.Literal["toml", "yaml"] = "toml",
) -> str:
    """Return `PLACE: KEY: found ...; wanted ...` for a value that does not convert to the type `kind`.

    `error` is msgspec's, kept for the case that no single value is to blame; `locate` tells the place
    (`FILE:LINE`) of a key, `()` being the whole value; `name` goes before each key.
    """
    problem = next(_Search(name, syntax).list_problems(kind, value, ()), None)
    if problem is None:
        problem = Problem((), f"{name}: {_strip_path(str(error))}" if name else _strip_path(str(error)))
    return f"{locate(problem.at)}: {_shorten(problem.words, 500)}"


def list_problems(kind: Any, value: Any) -> Iterator[Problem]:
    """Yields all that keeps a value that tomllib read from converting to the type `kind`, not only the first of it; but
    what a struct finds wrong with several keys together only where each of its keys is right."""
    for problem in _Search("", "toml").list_problems(kind, value, ()):
        yield problem._replace(words=_shorten(problem.words, 500))


def explain_toml(error: Exception | str, kind: Any, text: str, file: str) -> str:
    """Return the line for TOML text that tomllib reads, and that does not convert to the type `kind`.

    `file` is the name that the line begins with.
    """
    import tomllib

    def locate(key: Key) -> str:
        line = find_toml_line(text, key) if key else None
        return file if line is None else f"{file}:{line}"

    return explain(error, kind, tomllib.loads(text), locate)


def find_nearest_toml_line(text: str, key: Key) -> int | None:
    """Returns find_toml_line() of a key, or where it is not there of the nearest table that it would be in."""
    ways = (key[:length] for length in range(len(key), 0, -1))
    return next(filter(None, (find_toml_line(text, way) for way in ways)), None)


def find_toml_line(text: str, key: Key) -> int | None:
    """Returns the line, counted from 1, where the statement begins that brings `key` about; None if none does, and
    where finding it out would take longer than _PATIENCE.

    A statement is a table's header or `KEY = VALUE`, which may take several lines. tomllib, which is to have
    read `text` without an error, tells no lines. But it reads the first N lines without an error if and only
    if a statement ends there, so the end of the statement that adds the key is found by bisection.
    """
    import tomllib

    lines = text.replace("\r\n", "\n").split("\n")
    limit = time.monotonic() + _PATIENCE

    def read(count: int) -> dict[str, Any] | None:
        try:
            return tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            return None

    without, including = 0, len(lines)
    if not _holds(read(including), key):
        return None
    while True:
        middle = (without + including) // 2
        between = [*range(middle, without, -1), *range(middle + 1, including)]
        soon = itertools.takewhile(lambda _: time.monotonic() < limit, between)
        ends = ((count, data) for count in soon if (data := read(count)) is not None)
        count, data = next(ends, (without, None))
        if time.monotonic() > limit:
            return None
        if count == without:
            return without + 1
        if _holds(data, key):
            including = count
        else:
            without = count


def allow_names(found: str, names: Iterable[str]) -> str:
    """Returns `did you mean X? allowed: A, B, C`, the guess only if a name is close to what was found."""
    import difflib

    names = sorted(names)
    close = difflib.get_close_matches(found[:64], names, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"{guess}allowed: {', '.join(names)}"


def describe_type(kind: Any) -> str:
    """Returns in words which values an annotation allows, such as `an integer from 1 to 65535`."""
    return _describe(inspect.type_info(kind))


class _Search:
    """The innermost values that do not convert."""

    def __init__(self, name: str, syntax: str) -> None:
        self.name = name
        self.syntax = syntax

    def list_problems(self, kind: Any, value: Any, key: Key) -> Iterator[Problem]:
        """Yields what is wrong with a value; nothing if it converts."""
        try:
            msgspec.convert(value, kind)
            return
        except msgspec.ValidationError as error:
            message = _strip_path(str(error))
            refused = error.__cause__
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        whole = Problem(key, f"{self._show(key)}: {message}" if key or self.name else message)
        if origin is typing.Annotated and isinstance(value, dict | list):
            yield from _or(self.list_problems(arguments[0], value, key), whole)
            return
        if origin in (typing.Union, types.UnionType):
            fitting = [part for part in arguments if _fits(part, value)]
            # Of a text where words are allowed besides, all that is allowed is told.
            if len(fitting) == 1 and typing.get_origin(fitting[0]) is not typing.Literal:
                yield from self.list_problems(fitting[0], value, key)
                return
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
            found = _or(self._list_in_struct(kind, value, key), None)
            if first := next(found):
                yield first
                yield from filter(None, found)
                return
            several = refused.refused if isinstance(refused, SeveralRefused) else [refused]
            for each in several:
                yield self._blame(each, kind, value, key) or whole
            return
        elif origin is dict and isinstance(value, dict):
            yield from _or(self._list_in_dict(arguments, value, key), whole)
            return
        elif origin in (list, tuple) and isinstance(value, list):
            parts = (
                self.list_problems(
                    arguments[index] if origin is tuple and arguments[-1] is not Ellipsis else arguments[0],
                    item,
                    (*key, index),
                )
                for index, item in enumerate(value)
            )
            yield from _or(itertools.chain.from_iterable(parts), whole)
            return
        words = f"{self._show(key)}: found {_show_value(value)}; wanted {describe_type(kind)}"
        yield Problem(key, words + self._hint(kind, value))

    def _list_in_struct(self, kind: type[msgspec.Struct], value: dict[str, Any], key: Key) -> Iterator[Problem]:
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name, item in value.items():
            if name not in fields:
                words = f"unknown key {self._show((*key, name))}; {allow_names(name, fields)}"
                yield Problem((*key, name), words)
            else:
                yield from self.list_problems(hints[fields[name].name], item, (*key, name))
        for name, field in fields.items():
            if field.required and name not in value:
                wanted = describe_type(hints[field.name])
                yield Problem(key, f"{self._show((*key, name))} is missing; wanted {wanted}")

    def _blame(
        self, refused: BaseException | None, kind: type[msgspec.Struct], value: dict[str, Any], key: Key
    ) -> Problem | None:
        """Returns the problem that a `__post_init__` found: KeyRefused, or a message that begins with `KEY: `, says
        which key is wrong."""
        message = str(refused)
        if isinstance(refused, KeyRefused):
            return Problem((*key, *refused.key), f"{self._show(key)}: {message}" if key or self.name else message)
        name, colon, words = message.partition(": ")
        if not colon or name not in {field.encode_name for field in msgspec.structs.fields(kind)}:
            return None
        return Problem((*key, name) if name in value else key, f"{self._show((*key, name))}: {words}")

    def _list_in_dict(self, kinds: tuple[Any, ...], value: dict[str, Any], key: Key) -> Iterator[Problem]:
        for name, item in value.items():
            yield from self.list_problems(kinds[1], item, (*key, name))
            try:
                msgspec.convert(name, kinds[0])
            except msgspec.ValidationError:
                words = (
                    f"{self._show(key)}: key {_shorten(repr(name))} is not allowed; wanted {describe_type(kinds[0])}"
                )
                yield Problem((*key, name), words)

    def _hint(self, kind: Any, value: Any) -> str:
        if isinstance(value, bool):
            return _YAML_SWITCH if self.syntax == "yaml" else ""
        if isinstance(value, int | float) and _fits(kind, ""):
            return f" (quote it: '{value}')"
        if isinstance(value, str) and value.lstrip("-").isdigit() and _fits(kind, 1):
            return " (remove the quotes)"
        return ""

    def _show(self, key: Key) -> str:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{_show_name(part)}" for part in key)
        return self.name + path if self.name else path.lstrip(".")


def _or(problems: Iterator[Problem], other: Any) -> Iterator[Any]:
    """Yields the problems, or the other one if there are none."""
    first = next(problems, other)
    yield first
    yield from problems


def _fits(kind: Any, value: Any) -> bool:
    """Returns whether a value of this Python type could be meant for this annotation."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _fits(arguments[0], value)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(part, value) for part in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(choice) for choice in arguments)
    if isinstance(kind, typing.NewType):
        return _fits(kind.__supertype__, value)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return isinstance(value, dict)
    kind = origin or kind
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(kind, type) and isinstance(value, kind)


def _describe(info: inspect.Type) -> str:
    match info:
        case inspect.UnionType():
            return " or ".join(_describe(part) for part in info.types if not isinstance(part, inspect.NoneType))
        case inspect.LiteralType():
            return "one of " + ", ".join(str(choice) for choice in info.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            word = "an integer" if isinstance(info, inspect.IntType) else "a number"
            return f"{word}{_describe_bounds(info)}"
        case inspect.StrType():
            return f"text matching {info.pattern}" if info.pattern else "text"
        case inspect.ListType() | inspect.VarTupleType():
            return f"a list of: {_describe(info.item_type)}"
        case inspect.DictType():
            return f"a mapping of {_describe(info.key_type)} to {_describe(info.value_type)}"
        case inspect.StructType():
            return "a mapping with the keys " + ", ".join(sorted(field.encode_name for field in info.fields))
        case inspect.Metadata():
            return _describe(info.type)
    return type(info).__name__.removesuffix("Type").lower()


def _describe_bounds(info: inspect.IntType | inspect.FloatType) -> str:
    words = ((info.ge, "at least"), (info.gt, "more than"), (info.le, "at most"), (info.lt, "less than"))
    if info.ge is not None and info.le is not None:
        return f" from {info.ge} to {info.le}"
    parts = [f"{word} {bound}" for bound, word in words if bound is not None]
    return f" of {' and '.join(parts)}" if parts else ""


def _show_value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int | float):
        return f"the number {value}"
    return f"the text {_shorten(repr(value))}" if isinstance(value, str) else f"the {type(value).__name__} {value}"


def _show_name(name: str) -> str:
    """Returns a key as it may stand in a line."""
    return _shorten(name if name.isprintable() else repr(name))


def _shorten(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _strip_path(message: str) -> str:
    """Returns msgspec's message without its own path."""
    return message.rpartition(" - at `$")[0] or message


def _holds(data: Any, key: Key) -> bool:
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
