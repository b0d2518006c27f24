"""What a command writes to a terminal: standard output, whose disk may be full and whose reader may have left, and
messages. Nothing goes there but what a person sees: a control character would be an order to the terminal.

A value is escaped before it becomes part of a line (escape(), escape_values()): then it can neither end the line nor
pass for a command's own sequence. The whole text is escaped once more where it is written.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Collection, Iterator
from typing import Any, TextIO, TypeVar

from hosttune.errors import UsageError

T = TypeVar("T")

#: ECMA-48: the cursor to the line's begin, then erase the line.
_ERASE = "\r\x1b[K"
_BLANKS = {ord("\t"): " ", ord("\n"): " "}


def write_out(text: str, orders: Collection[str] = ()) -> None:
    """Write text, and what was printed before, to standard output, as escape_lines() has it.

    Raises UsageError for a full disk and for a closed output, and BrokenPipeError when the reader, such as head, has
    seen enough.
    """
    if sys.stdout is None or sys.stdout.closed:  # the caller closed the descriptor, or a module of the user's
        raise UsageError(f"standard output: {os.strerror(errno.EBADF)}")
    try:
        try:
            sys.stdout.write(escape_lines(text, orders))
        except UnicodeEncodeError:  # a locale that has not all characters
            sys.stdout.write("".join(c if c.isascii() else _write_units(c) for c in escape_lines(text, orders)))
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(f"standard output: {error.strerror}") from None


def put_out(path: str, text: str) -> None:
    """Put text into a new file (mode 0644) at a path: a program that reads the file meanwhile reads all of the old
    text, or all of the new one. Raises UsageError where it cannot be written; then what was there stays."""
    try:
        from hosttune import files  # late: a role embeds this module, and not that one

        files.check_replaceable(path)
        files.replace_file(path, text.encode("utf-8", "backslashreplace"), 0o644)
    except (OSError, ValueError) as error:  # ValueError: a zero in the path
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', error)}") from None


def print_message(text: str) -> None:
    """Write lines to standard error, as escape_lines() has them. One that nobody can take is lost, and no error."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(escape_lines(text), file=sys.stderr, flush=True)


def is_watched() -> bool:
    """Returns whether standard error is a terminal."""
    return sys.__stderr__ is not None and sys.__stderr__.isatty()


def show_line(text: str) -> None:
    """Write a line without its end to the terminal that is standard error, as escape() has it, in the place of the one
    that this wrote before; "": nothing in its place. One that nobody can take is lost, and no error."""
    if (stream := sys.__stderr__) is not None:  # not that of guard_messages(), which would escape _ERASE
        with contextlib.suppress(OSError):
            stream.write(_ERASE + escape(text))
            stream.flush()


@contextlib.contextmanager
def guard_messages() -> Iterator[None]:
    """Escape also what others write to standard error: warnings, and what the interpreter and libraries say."""
    with contextlib.redirect_stderr(_Escaping(sys.stderr)) if sys.stderr else contextlib.nullcontext():
        yield


def print_traceback() -> None:
    """Write the error that is being handled, and where it came from, to standard error."""
    import traceback

    print_message(traceback.format_exc().rstrip("\n"))


def escape(text: str) -> str:
    """Returns a value as it may stand in a line: what is not printable (control characters, line ends, marks that turn
    the direction of writing, halves of surrogates) as JSON writes it, such as \\u001b.

    Of text that this has escaped it returns the same. Source: str.isprintable(); RFC 8259, section 7.
    """
    return text if text.isprintable() else "".join(map(_escape_character, text))


def escape_lines(text: str, orders: Collection[str] = ()) -> str:
    """Returns a document as it may be printed: as escape(), and with its line ends and tabulators.

    orders: a command's own sequences for the terminal, which stay. A value that is in `text` must have been escaped
    before, or it could hold one of them.
    """
    if text.isprintable():
        return text
    if orders:
        import re

        parts = re.split("(" + "|".join(map(re.escape, orders)) + ")", text)
        return "".join(part if at % 2 else escape_lines(part) for at, part in enumerate(parts))
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))


def escape_values(value: T, documents: Collection[str] = ()) -> T:
    """Returns data with every text in it (in dicts, lists, tuples, and msgspec's structs) as it may stand in a line: as
    escape(), and with a blank for line ends and tabulators, which are common in kernel files.

    documents: names of fields of structs that hold several lines: those stay.
    """
    kind: Any = type(value)
    given: Any = value
    if isinstance(given, str):
        return given if given.isprintable() else escape(given.strip("\t\n").translate(_BLANKS))  # type: ignore[return-value]
    if isinstance(given, dict):
        return {escape_values(key): escape_values(item, documents) for key, item in given.items()}  # type: ignore[return-value]
    if kind in (list, tuple, set, frozenset):
        return kind(escape_values(item, documents) for item in given)  # type: ignore[no-any-return]
    if isinstance(given, tuple):
        return kind(*(escape_values(item, documents) for item in given))  # type: ignore[no-any-return]
    if fields := getattr(kind, "__struct_fields__", None):
        copy = {
            name: escape_lines(item) if name in documents and isinstance(item, str) else escape_values(item, documents)
            for name, item in ((name, getattr(given, name)) for name in fields)
        }
        return kind(**copy)  # type: ignore[no-any-return]
    return value


def quote_word(text: str) -> str:
    """Returns a name as one word of a command that a person may paste into a shell, whatever is in the name.

    Source: POSIX.1-2024, Shell Command Language, 2.2.2 Single-Quotes and 2.2.4 Dollar-Single-Quotes.
    """
    import shlex

    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_quote_character, text)) + "'"


def _quote_character(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in "\\'" else character
    # A byte of a file name that is no UTF-8 is a half of a surrogate of its own range (PEP 383).
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))


class _Escaping(io.TextIOBase):
    """A text stream before another one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(escape_lines(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


def _escape_character(character: str) -> str:
    return character if character.isprintable() else _write_units(character)


def _write_units(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _discard_output() -> None:
    """Send what standard output still holds to /dev/null, so that Python does not fail again when it closes it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
