"""Patterns of file names as glob(3) has them: reading all files that one names, and whether one names a path."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from hosttune.patterns import late_pattern

if TYPE_CHECKING:  # the roles plan with this module, and have no msgspec
    from hosttune.host.root import Root

_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
    "punct": re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"), "space": r"\s", "blank": " \t", "graph": "!-~",
    "print": " -~", "cntrl": r"\x00-\x1f",
}  # fmt: skip
_CLASS = late_pattern(r"\[:([a-z]+):\]")


def read(root: Root, *patterns: str) -> None:
    """Read every file that a glob names, so that a recording root keeps it.

    `*`, `?` and `[...]` match within one path component; a component without them is not looked up, so
    that an absence is recorded too. As `ls -F` marks them, a pattern that ends in `/` names directories
    to list, and one that ends in `@` links.
    """
    for pattern in patterns:
        visit = root.list if pattern.endswith("/") else root.link if pattern.endswith("@") else root.read
        for path in find_paths(root, pattern.rstrip("/@")):
            visit(path)


def find_paths(root: Root, pattern: str) -> list[str]:
    """Returns the paths that a glob names, in order."""
    found = ["/"]
    for part in pattern.strip("/").split("/"):
        if any(letter in part for letter in "*?["):
            matcher = compile_part(part)
            found = [
                posixpath.join(path, name)
                for path in found
                for name in root.list(path).value or ()
                if matcher.fullmatch(name)
            ]
        else:
            found = [posixpath.join(path, part) for path in found]
    return found


def matches(path: str, pattern: str) -> bool:
    """Returns whether a pattern, with braces too, names a path."""
    parts = path.split("/")
    for each in expand_braces(pattern, 1 << 12):
        patterns = each.split("/")
        if len(parts) == len(patterns) and all(
            compile_part(one).fullmatch(name) for one, name in zip(patterns, parts, strict=True)
        ):
            return True
    return False


def may_match(pattern: str, shape: str) -> bool:
    """Returns whether a pattern without braces can name a path of a shape, in which `#` stands for digits."""
    patterns, shapes = pattern.split("/"), shape.split("/")
    return len(patterns) == len(shapes) and all(map(_may_match_part, patterns, shapes))


def _may_match_part(pattern: str, shape: str) -> bool:
    if "#" not in shape:
        return compile_part(pattern).fullmatch(shape) is not None
    if any(letter in pattern for letter in "*?[\\"):
        return True
    before, _, after = shape.partition("#")
    digits = pattern[len(before) : len(pattern) - len(after)]
    return pattern.startswith(before) and pattern.endswith(after) and digits.isascii() and digits.isdigit()


def expand_braces(pattern: str, most: int) -> list[str]:
    """Returns the patterns that one with braces stands for, as csh does: `a{b,c}` for `ab` and `ac`.

    `{}` stands for itself. Raises ValueError for more than `most`.
    """
    found = [""]
    position = 0
    while position < len(pattern):
        start = pattern.find("{", position)
        end = _find_brace_end(pattern, start) if start >= 0 else -1
        if end < 0:
            return [each + pattern[position:] for each in found]
        inner = _split_choices(pattern[start + 1 : end])
        before = pattern[position:start]
        if pattern[start : end + 1] == "{}":
            found = [f"{each}{before}{{}}" for each in found]
        else:
            choices = [one for choice in inner for one in expand_braces(choice, most)]
            if len(found) * len(choices) > most:
                raise ValueError("a pattern in it stands for too many")
            found = [each + before + choice for each in found for choice in choices]
        position = end + 1
    return found


def _find_brace_end(pattern: str, start: int) -> int:
    depth = 0
    for at in range(start, len(pattern)):
        depth += (pattern[at] == "{") - (pattern[at] == "}")
        if not depth:
            return at
    return -1


def _split_choices(text: str) -> list[str]:
    choices, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and not depth:
            choices.append("")
        else:
            choices[-1] += letter
    return choices


@lru_cache(maxsize=1024)
def compile_part(pattern: str) -> re.Pattern[str]:
    """Returns the regular expression of a pattern for one name: a wildcard at its start stands for no dot."""
    runs: list[str] = [""]  # between the stars
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if letter == "*":
            runs.append("")
        elif letter == "?":
            runs[-1] += "."
        elif letter == "\\" and position < len(pattern):
            runs[-1] += re.escape(pattern[position])
            position += 1
        elif letter == "[" and (end := _find_set_end(pattern, position)) > 0:
            runs[-1] += _make_set(pattern[position:end])
            position = end + 1
        else:
            runs[-1] += re.escape(letter)
    first, *others = runs
    # The first place where a run fits is as good as any other: without trying more, the time is bounded.
    middle = "".join(f"(?>.*?{run})" for run in others[:-1] if run)
    whole = first + (f"{middle}.*{others[-1]}" if others else "")
    hidden = r"(?!\.)" if pattern[:1] in ("*", "?", "[") else ""
    try:
        return re.compile(hidden + whole, re.DOTALL)
    except re.error:  # a range that runs backwards names nothing
        return re.compile(r"(?!)")


def _find_set_end(pattern: str, start: int) -> int:
    at = start + (pattern[start : start + 1] in ("!", "^"))
    at += pattern[at : at + 1] == "]"
    while at < len(pattern) and pattern[at] != "]":
        match = _CLASS.match(pattern, at)
        at = match.end() if match else at + 1 + (pattern[at] == "\\")
    return at if at < len(pattern) else -1


def _make_set(text: str) -> str:
    negated = text[:1] in ("!", "^")
    pieces: list[str] = []
    position = int(negated)
    while position < len(text):
        match = _CLASS.match(text, position)
        if match:
            pieces.append(_CLASSES.get(match[1], ""))
            position = match.end()
            continue
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        ranged = text[position + 1 : position + 2] == "-" and position + 2 < len(text)
        pieces.append(re.escape(text[position]) + (f"-{re.escape(text[position + 2])}" if ranged else ""))
        position += 3 if ranged else 1
    return f"[{'^' if negated else ''}{''.join(pieces)}]" if any(pieces) else r"(?!)"
