"""Commands of fixes that change files."""

from __future__ import annotations

from hosttune.host.tmpfiles import DIRECTORIES
from hosttune.output import quote_word


def remove_line(place: str) -> str:
    """Returns the commands that remove the line at `FILE:LINE`; of the kernel's command line, what to do."""
    file, _, number = place.rpartition(":")
    if not number.isdigit():
        return f"take that out of the kernel's command line ({place})"
    target, copies = choose_file(file)
    # Emptied: the numbers of other lines stay what another fix names.
    return "\n".join([*copies, f"sed -i '{number}s/.*//' {quote_word(target)}"])


def choose_file(file: str) -> tuple[str, list[str]]:
    """Returns the file to edit, and the command that puts a copy of a vendor's file of tmpfiles.d in its place."""
    vendor = next((directory for directory in DIRECTORIES[1:] if file.startswith(f"{directory}/")), None)
    if vendor is None:
        return file, []
    target = DIRECTORIES[0] + file.removeprefix(vendor)
    return target, [f"cp {quote_word(file)} {quote_word(target)}"]
