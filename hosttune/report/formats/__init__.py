"""Every output format: one module of this folder each, found by listing it.

A format module has `NEEDS`, the name of the view of a document that it takes (`as_data`, `as_text`,
`as_metrics`; see :mod:`hosttune.report.document`), and `write(document, page) -> str`. It imports what it
needs to write in `write`, so that a command which only offers the format does not wait for it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hosttune.report.document import Document, Page

DEFAULT = "text"
#: What every document has.
VIEWS = ("as_data", "as_text")


def list_formats(views: tuple[str, ...] = VIEWS) -> list[str]:
    """Returns the names of the formats that take one of these views: the default first, the others by name."""
    files = (name.partition(".") for directory in __path__ for name in os.listdir(directory))
    names = sorted((name for name, _, ending in files if ending == "py" and name[0] != "_"), key=_sort_key)
    return [name for name in names if _load(name).NEEDS in views]


def add_argument(parser: Any, views: tuple[str, ...] = VIEWS, help: str | None = None) -> None:
    """Add `--format` to the parser (argparse) of a command whose document has these views."""
    parser.add_argument("--format", choices=list_formats(views), default=DEFAULT, help=help)


def write(name: str, document: Document, page: Page) -> str:
    """Return the document in the format of this name.

    Raises :class:`hosttune.errors.UsageError` if the format needs a package that is not installed.
    """
    text: str = _load(name).write(document, page)
    return text


def _sort_key(name: str) -> tuple[bool, str]:
    return (name != DEFAULT, name)


def _load(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
