"""Standard output and the terminal behind it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from hosttune import output

if TYPE_CHECKING:
    from collections.abc import Collection

    from hosttune.report.document import Document


def write_out(text: str, orders: Collection[str] = ()) -> None:
    """Write to standard output; a reader that has closed it ends the output, not the command. Raises UsageError."""
    with contextlib.suppress(BrokenPipeError):
        output.write_out(text, orders)


def write_document(document: Document, form: str, *, colour: bool = False, quiet: bool = False) -> None:
    """Write a document to standard output in the format of this name. Raises UsageError."""
    from hosttune.report import formats
    from hosttune.report.document import Page

    text = formats.write(form, document, Page(read_width(), colour, quiet))
    if colour:
        from hosttune.report.page import ORDERS
    write_out(text, ORDERS if colour else ())


def put_document(document: Document, form: str, path: str, *, quiet: bool = False) -> None:
    """Put a document in the format of this name into a new file (mode 0644) at a path: a program that reads the file
    meanwhile reads all of the old document, or all of the new one. Raises UsageError."""
    from hosttune.report import formats
    from hosttune.report.document import Page

    output.put_out(path, formats.write(form, document, Page(quiet=quiet)))


def read_width() -> int:
    """Returns the terminal's columns, from 80 to 120; 100 where there is no terminal."""
    columns = os.environ.get("COLUMNS", "")
    if not columns.isdecimal() or len(columns) > 4:
        try:
            columns = str(os.get_terminal_size(sys.stdout.fileno()).columns)
        except (OSError, ValueError, AttributeError):  # the last: closed, so there is no sys.stdout
            return 100
    return min(max(int(columns), 80), 120)


def wants_colour(choice: str) -> bool:
    """Returns whether to colour the output: `always`, `never`, or `auto` by terminal and https://no-color.org."""
    if choice == "auto":
        try:
            return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        except AttributeError:  # closed, so there is no sys.stdout
            return False
    return choice == "always"
