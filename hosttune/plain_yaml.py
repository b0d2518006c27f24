"""The YAML that roles write and people mostly do, without PyYAML, whose import takes a fifth of a launch.

Block mappings; values on the key's line: words, whole numbers, quoted text without escapes, flow lists of these; block
lists of these. Whatever is anything else, or only might be read in another way, is left to PyYAML: what is parsed here
has the same meaning there.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_LONGEST = 20_000  # characters: fewer nodes than a profile may have
_DEEPEST = 10
_LINE = re.compile(
    r"""( *)(?:(-)[ ]+|([A-Za-z_][A-Za-z0-9_./-]*|[1-9][0-9]*[KMG]|"[^"\\]*"|'[^']*'):(?:[ ]+|$))([^#]*)$""", re.ASCII
)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|[1-9][0-9]*[KMG]", re.ASCII)
_QUOTED = re.compile(r"""["]([^"\\]*)["]|[']([^']*)[']""")
#: Words that YAML 1.1 reads as something else than text, in one spelling or another.
_SPECIAL = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


class _Line(NamedTuple):
    number: int
    indent: int
    key: str | None  # None: an item of a list
    rest: str


class _NotPlain(Exception):
    pass


def parse(text: str) -> dict[str, tuple[Any, int]] | None:
    """Keys with their values and line numbers; a value is a scalar, a list of (value, line), or such a dictionary again.
    None where it takes PyYAML to tell, errors included."""
    if len(text) > _LONGEST or not text.isascii() or not text.replace("\n", "").isprintable():
        return None
    try:
        lines = _lines(text)
        if not lines:
            return None
        found, end = _block(lines, 0, 0, 0)
    except _NotPlain:
        return None
    return found if end == len(lines) and isinstance(found, dict) else None


def values(text: str) -> dict[str, Any] | None:
    """As parse(), without line numbers."""
    tree = parse(text)
    return None if tree is None else {key: _bare(value) for key, (value, _) in tree.items()}


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(inner) for key, (inner, _) in value.items()}
    return [inner for inner, _ in value] if isinstance(value, list) else value


def _lines(text: str) -> list[_Line]:
    found: list[_Line] = []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip(" ")
        if not bare or bare[0] == "#" or (line == "---" and not found):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise _NotPlain
        indent, item, key, rest = match.groups()
        if not item and _word(key) is None:
            raise _NotPlain
        found.append(_Line(number, len(indent), None if item else _word(key), rest.rstrip(" ")))
    return found


def _word(text: str) -> str | None:
    """A plain or quoted scalar that is text; None for anything else."""
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return quoted[1] if quoted[1] is not None else quoted[2]
    return text if _TEXT.fullmatch(text) and text.lower() not in _SPECIAL else None


def _block(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[Any, int]:
    """The mapping or list that begins at a line, and the first line after it."""
    if depth > _DEEPEST or lines[at].indent != indent:
        raise _NotPlain
    listed = lines[at].key is None
    entries: dict[str, tuple[Any, int]] = {}
    items: list[tuple[Any, int]] = []
    while at < len(lines) and lines[at].indent >= indent:
        line = lines[at]
        if line.indent != indent or (line.key is None) is not listed:
            raise _NotPlain
        at += 1
        if line.key is None:
            items.append((_scalar(line.rest), line.number))
            continue
        if line.key in entries:
            raise _NotPlain
        if line.rest:
            value = _value(line.rest, line.number)
        elif at < len(lines) and lines[at].indent > indent:
            value, at = _block(lines, at, lines[at].indent, depth + 1)
        else:
            raise _NotPlain
        entries[line.key] = value, line.number
    return (items if listed else entries), at


def _value(text: str, line: int) -> Any:
    if text[0] == "[" and text[-1] == "]":
        return [(_scalar(part.strip(" ")), line) for part in text[1:-1].split(",")]
    return _scalar(text)


def _scalar(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    word = _word(text)
    if word is None:
        raise _NotPlain
    return word
