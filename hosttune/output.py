"""What a command writes to a terminal: standard output, whose disk may be full and whose reader may have left, and
messages. Nothing goes there but what a person sees: a control character would be an order to the terminal."""

from __future__ import annotations

import contextlib
import os
import sys

from hosttune.errors import UsageError


def write_out(text: str) -> None:
    """Write text, and what was printed before, to standard output, as escape_lines() has it.

    Raises UsageError for a full disk, and BrokenPipeError when the reader, such as head, has seen enough.
    """
    try:
        sys.stdout.write(escape_lines(text))
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(f"standard output: {error.strerror}") from None


def print_message(text: str) -> None:
    """Write lines to standard error, as escape_lines() has them. One that nobody can take is lost, and no error."""
    with contextlib.suppress(OSError):
        print(escape_lines(text), file=sys.stderr, flush=True)


def escape(text: str) -> str:
    """Returns a value as it may stand in a line: what is not printable (control characters, line ends, marks that turn
    the direction of writing, halves of surrogates) as JSON writes it, such as \\u001b.

    Of text that this has escaped it returns the same. Source: str.isprintable(); RFC 8259, section 7.
    """
    return text if text.isprintable() else "".join(map(_escape_character, text))


def escape_lines(text: str) -> str:
    """Returns a document as it may be printed: as escape(), and with its line ends and tabulators."""
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))


def _escape_character(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _discard_output() -> None:
    """Send what standard output still holds to /dev/null, so that Python does not fail again when it closes it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
