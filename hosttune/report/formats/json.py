"""JSON (RFC 8259), indented by two, in UTF-8, with a newline at the end. Its texts write as an escape sequence what
cannot be printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosttune.output import escape_lines

if TYPE_CHECKING:
    from hosttune.report.document import Document, Page

NEEDS = "as_data"


def write(document: Document, page: Page) -> str:
    """Return one JSON value."""
    import msgspec

    data = document.as_data()
    try:
        text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode()
    except UnicodeEncodeError:  # halves of surrogates, such as of a file name that is no UTF-8 (PEP 383)
        import json

        text = json.dumps(msgspec.to_builtins(data, str_keys=True), indent=2)
    return escape_lines(text) + "\n"
