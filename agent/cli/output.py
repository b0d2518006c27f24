"""The documents that subcommands print, in the output format that was asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from hosttune.output import write_out as write_out

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
