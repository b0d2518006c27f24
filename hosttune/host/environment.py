"""The environment that systemd gives a service: the words of Environment= and the files of EnvironmentFile=.

Sources: systemd.exec(5), "Environment"; `src/basic/env-file.c` and `src/basic/extract-word.c` of systemd 252 and 257.
"""

from __future__ import annotations

import re

from hosttune.patterns import late_pattern

# Characters of what anybody writes into either.
MAX_LENGTH = 1 << 16
_NAME = late_pattern(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NEWLINE, _SPACE = "\n\r", " \t\n\r"
# One piece of a value in a file, after another: a quotation, a backslash with what follows it, or plain text.
_FILE_PIECE = late_pattern(r"""'([^']*)(?:'|\Z)|"((?:[^"\\]|\\.)*)\\?(?:"|\Z)""", re.DOTALL)
_WORD_PIECE = late_pattern(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(\\.|[^ \t\n\r'"\\]+)""", re.DOTALL)

_ESCAPED_QUOTE = late_pattern(r"""\\(["'\\])""")


def parse_file(text: str) -> list[tuple[str, str]]:
    """Returns the variables that a file sets, in order; an assignment to what is no name of a variable is none.

    Raises ValueError for a text that is longer than what anybody writes, and where versions of systemd differ: up to
    253 a comment that ends in a backslash goes on in the next line.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{len(text)} characters")
    found = _parse_file(text, continued=False)
    if found != _parse_file(text, continued=True):
        raise ValueError("a comment ends in a backslash: whether the next line is part of it depends on the version")
    return found


def _parse_file(text: str, *, continued: bool) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char in _SPACE:
            position += 1
        elif char in "#;":
            position = _skip_comment(text, position, continued=continued)
        else:
            end = _find_any(text, "=" + _NEWLINE, position + 1)
            name = text[position:end].rstrip(_SPACE)
            position = end + 1
            if text[end : end + 1] == "=":
                value, position = _take_value(text, position)
                if _NAME.fullmatch(name):
                    found.append((name, value))
    return found


def _skip_comment(text: str, position: int, *, continued: bool) -> int:
    while position < len(text) and text[position] not in _NEWLINE:
        escaped = text[position] == "\\" and (continued or text[position + 1 : position + 2] not in _NEWLINE)
        position += 2 if escaped else 1
    return position


def _find_any(text: str, characters: str, position: int) -> int:
    while position < len(text) and text[position] not in characters:
        position += 1
    return position


def _take_value(text: str, position: int) -> tuple[str, int]:
    """Returns a value and where what follows it begins.

    A quotation counts where no plain text stands before it, and plain text is without the white space around it.
    """
    value = ""
    while position < len(text) and text[position] not in _NEWLINE:
        if text[position] in _SPACE:
            position += 1
        elif match := _FILE_PIECE.match(text, position):
            value += match[1] or re.sub(r"\\(.)", _unescape, match[2] or "", flags=re.DOTALL)
            position = match.end()
        else:
            plain, position = _take_plain(text, position)
            return value + plain, position
    return value, position + 1


def _take_plain(text: str, position: int) -> tuple[str, int]:
    found, end = "", 0  # `end`: behind the last that is not white space
    while position < len(text) and text[position] not in _NEWLINE:
        escaped = text[position] == "\\"
        position += escaped
        char = text[position : position + 1]
        position += 1
        if not (escaped and char in _NEWLINE):  # a line that goes on in the next
            found += char
        if escaped or char not in _SPACE:
            end = len(found)
    return found[:end], position + 1


def _unescape(match: re.Match[str]) -> str:
    char = match[1]
    return char if char in '"\\`$' else "" if char == "\n" else match[0]


def parse_words(text: str) -> list[tuple[str, str]]:
    """Returns the variables that Environment= sets, in order: words apart by white space, which may be quoted.

    systemd keeps what stands before a quotation without an end. Of what a backslash can stand for, quotes and the
    backslash are read. Raises ValueError for a text that is longer than what
    anybody writes.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{len(text)} characters")
    found: list[tuple[str, str]] = []
    position = 0
    while True:
        while text[position : position + 1] and text[position] in _SPACE:
            position += 1
        word, start = "", position
        while position < len(text) and (match := _WORD_PIECE.match(text, position)):
            word += _ESCAPED_QUOTE.sub(r"\1", match[match.lastindex or 0])
            position = match.end()
        if position == start or (position < len(text) and text[position] not in _SPACE):
            return found
        name, equals, value = word.partition("=")
        if equals and _NAME.fullmatch(name):
            found.append((name, value))
