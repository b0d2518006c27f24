"""JSON (RFC 8259), indented by two, in UTF-8, with a newline at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hosttune.report.document import Document, Page

NEEDS = "as_data"


def write(document: Document, page: Page) -> str:
    """Return one JSON value."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document.as_data()), indent=2).decode() + "\n"
