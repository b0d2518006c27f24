"""Lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hosttune.report.document import Document, Page

NEEDS = "as_text"


def write(document: Document, page: Page) -> str:
    """Return the document's own lines."""
    return document.as_text(page)
