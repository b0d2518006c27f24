"""Commands of fixes that change files."""

from __future__ import annotations

from hosttune.output import quote_word


def remove_line(place: str) -> str:
    """Returns the command that removes the line at `FILE:LINE`; of the kernel's command line, what to do."""
    file, colon, number = place.rpartition(":")
    # Emptied: the numbers of other lines stay what another fix names.
    return (
        f"sed -i '{number}s/.*//' {quote_word(file)}"
        if colon
        else f"take that out of the kernel's command line ({place})"
    )
