"""What a command has to say, apart from the format that it is written in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class Page(msgspec.Struct, frozen=True):
    """What text is written for: columns, whether colours are shown, and whether only what is wrong is wanted."""

    width: int = 100
    colour: bool = False
    quiet: bool = False


class Document(Protocol):
    """The result of a command. Each output format takes one of these views of it."""

    def as_data(self) -> Any:
        """Returns plain data: dicts, lists, text, numbers, or msgspec structs of them."""

    def as_text(self, page: Page) -> str:
        """Returns lines for people, the last one ended too."""


class MeasuredDocument(Document, Protocol):
    """A document that also has metrics."""

    def as_metrics(self) -> Iterable[Any]:
        """Returns metric families of prometheus_client, with their samples."""


class PagedDocument(Document, Protocol):
    """A document that also has a page of HTML."""

    def as_template(self) -> Path:
        """Returns the file of a Jinja template that makes the page out of `data`, the document's data."""
