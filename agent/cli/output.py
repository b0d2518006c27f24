"""Standard output, and the documents that subcommands print in the output format that was asked for."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import UsageError

if TYPE_CHECKING:
    from hosttune.report.document import Document, Page


class Result(NamedTuple):
    """Plain data as a document, and the function that writes the data for people."""

    data: Any
    write: Callable[[Any], str]

    def as_data(self) -> Any:
        """Returns the data."""
        return self.data

    def as_text(self, page: "Page") -> str:
        """Returns lines for people."""
        return self.write(self.data)


def format_document(document: "Document", form: str) -> str:
    """Returns a document in the output format of this name. Raises UsageError."""
    from hosttune.report import formats
    from hosttune.report.document import Page

    return formats.write(form, document, Page())


def print_document(document: "Document", form: str) -> None:
    """Write a document to standard output in the format of this name. Raises UsageError."""
    write_out(format_document(document, form))


def write_out(text: str) -> None:
    """Write text, and what was printed before, to standard output. Raises UsageError for a full disk, and
    BrokenPipeError when the reader, such as head, has seen enough."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(f"standard output: {error.strerror}") from None


def _discard_output() -> None:
    """Send what standard output still holds to /dev/null, so that Python does not fail again when it closes it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
