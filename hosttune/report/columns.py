"""Columns of text, counted as a terminal shows them: some characters take two places, and marks take none."""

from __future__ import annotations


def measure(text: str) -> int:
    """Returns how many places printable text takes. Source: Unicode Standard Annex #11; wcwidth(3)."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def pad(text: str, width: int) -> str:
    """Returns text with blanks behind it, up to a width."""
    return text + " " * (width - measure(text))


def clip(text: str, width: int) -> str:
    """Returns text cut to a width, with an ellipsis of three dots where something was cut."""
    if measure(text) <= width:
        return text
    room, kept = width - 3, 0
    for character in text:
        room -= measure(character)
        if room < 0:
            break
        kept += 1
    return text[:kept] + "..."
