"""The text of an agent.toml, and of another program's TOML: read, and refused where it is no TOML, where it holds what
no value can be, or what its type does not allow."""

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import AgentError
from hosttune import files

#: The most of an agent.toml: bytes; characters of a line; dots in one. Python takes time that grows with the square of
#: the parts of a key.
MAX_BYTES = 1 << 16
_MAX_LINE, _MAX_DOTS = 4096, 300


class Problem(NamedTuple):
    """Why a configuration cannot be used. file, line: the place, "" and None for none; key: its tables and its name,
    with dots, "" for none; words: the rest of the message."""

    file: str
    line: int | None
    key: str
    words: str

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{self.file}{line}: {self.words}" if self.file else self.words


class ConfigError(AgentError):
    """The configuration cannot be used; the message names file, line, key, what was found and what is allowed. problem:
    the message in its parts, where it is about the text."""

    def __init__(self, problem: Problem | str) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read_text(path: Path) -> str:
    """Returns the text of a configuration. Raises ConfigError."""
    try:
        return _read_regular_file(path).decode()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except ValueError as error:  # a zero in the path
        raise ConfigError(f"{path}: {error}") from None


def read_tables(text: str, file: str) -> dict[str, Any]:
    """Returns the tables in the text of a configuration; `file` names the text in an error. Raises ConfigError where it
    is not TOML, or too much of it."""
    long = (number for number, line in enumerate(text.split("\n"), 1) if _is_too_long(line))
    if number := next(long, 0):
        words = f"found a longer line, allowed: {_MAX_LINE} characters, {_MAX_DOTS} of them dots"
        raise ConfigError(Problem(file, number, "", words))
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number with more digits, or values deeper, than Python reads
        at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = None if not at else int(at[1]) if at[1] else text.count("\n") + 1
        raise ConfigError(Problem(file, line, "", f"not TOML: {error}")) from None


def list_unusable(value: Any, key: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yields (key, words) for each value in the tables that nothing here can be: no number, or text that is not one of
    printable characters, and so no path, name or address."""
    if isinstance(value, dict | list):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from list_unusable(item, (*key, part))
        return
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")
    if isinstance(value, float) and not math.isfinite(value):
        yield key, f"{shown}: found {value}; wanted a finite number"
    elif isinstance(value, str) and not value.isprintable():
        yield key, f"{shown}: found the text {value[:80]!r}; wanted printable characters"


def list_problems(
    kind: Any, tables: dict[str, Any], at: Callable[[tuple[str | int, ...], str], Problem]
) -> Iterator[Problem]:
    """Yields all that keeps the tables from converting to the type `kind`, a msgspec.Struct; nothing for what does.
    at: makes a Problem of a key and the words about it."""
    from hosttune import config_errors  # late: only for what is wrong

    told = set()
    for wrong in config_errors.list_problems(kind, tables):
        told.add(wrong.at)
        yield at(*wrong)
    for key, words in list_unusable(tables, ()):
        if key not in told:
            yield at(key, words)


def find_password(tables: dict[str, Any]) -> tuple[tuple[str, str], str] | None:
    """Returns (key, words) where the password itself is in agent.toml, which diffs and backups show; words do not."""
    exchange = tables.get("exchange")
    if not isinstance(exchange, dict):
        return None
    path = exchange.get("password_file", "/")
    if "password" in exchange:
        key, words = "password", "found in the configuration"
    elif not isinstance(path, str) or not path.startswith("/"):
        key, words = "password_file", "found something else than an absolute path"
    else:
        return None
    words = (
        f"exchange.{key}: {words}; allowed: the password in a file of mode 0600 of its own, and the file's absolute "
        "path as exchange.password_file; or as a systemd credential"
    )
    return ("exchange", key), words


def _is_too_long(line: str) -> bool:
    return len(line) > _MAX_LINE or line.count(".") > _MAX_DOTS


def _read_regular_file(path: Path) -> bytes:
    """Raises OSError; does not wait for what a FIFO at the path is yet to say."""
    descriptor = files.open_given(path)
    try:
        return files.read_bounded(descriptor, MAX_BYTES, path)
    finally:
        os.close(descriptor)
