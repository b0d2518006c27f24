"""A page of HTML out of a document's template (Jinja), which escapes every value."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hosttune.errors import UsageError
from hosttune.output import escape_lines, escape_values

if TYPE_CHECKING:
    from hosttune.report.document import Page, PagedDocument

NEEDS = "as_template"


def write(document: PagedDocument, page: Page) -> str:
    """Return the page. Raises UsageError without the package jinja2."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise UsageError("--format html needs the package jinja2 (hosttune[desk-tools])") from None
    import msgspec

    path = document.as_template()
    own = os.path.dirname(__file__)  # style.html
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader([path.parent, own]),
        trim_blocks=True,
    )
    data = escape_values(msgspec.to_builtins(document.as_data(), str_keys=True))
    return escape_lines(environment.get_template(path.name).render(data=data)) + "\n"
