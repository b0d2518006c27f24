"""Lines for people. No value of a document ends a line or gives the terminal an order: all are escaped before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosttune.output import escape_values

if TYPE_CHECKING:
    from hosttune.report.document import Document, Page

NEEDS = "as_text"
#: Fields of findings that are commands to paste, each in a line of its own.
_SEVERAL_LINES = ("fix",)


def write(document: Document, page: Page) -> str:
    """Return the document's own lines."""
    return escape_values(document, documents=_SEVERAL_LINES).as_text(page)
