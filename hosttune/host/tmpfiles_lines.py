"""The lines of tmpfiles.d that write to the pools and policies of huge pages, to sysctls and to affinities of
interrupts: for the check and for the role.

Sources: tmpfiles.d(5), glob(7); `src/tmpfiles/tmpfiles.c` and `src/basic/extract-word.c` of systemd 252 and 257.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from hosttune.host import globs, hugetlb, sysctl_values
from hosttune.patterns import late_pattern

#: Files of affinities of interrupts: for those that come, and for each that is there.
AFFINITIES = ("/proc/irq/default_smp_affinity", "/proc/irq/#/smp_affinity", "/proc/irq/#/smp_affinity_list")
#: Of one line: a name in braces stands for several.
MAX_PATTERNS = 64
#: Of one file: lines with such names.
MAX_BRACES = 500
#: Of one file: lines that a check looks at.
MAX_LINES = 1024
_MAX_LINE = 4096

_TYPES = late_pattern(r"([wfF])(?!.*(.).*\2)([!+=~^-]*)", re.ASCII)
_MODE = late_pattern(r"-|[~:]{0,2}0?[0-7]{1,4}")
_AGE = late_pattern(r"-|~?[a-zA-Z:]*[0-9]+[a-z0-9 ]*|0")
_SPECIFIER = late_pattern(r"%[aAbBCgGhHlLmMoStTuUvVwW]")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'",
            "s": " "}  # fmt: skip
_ESCAPE = late_pattern(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|([abfnrtv\\\"'s]))")


class Line(NamedTuple):
    """A line that writes: the files that its pattern names, the text, and where it says so.

    `value` is None where the text depends on the host. `kind` is the type with its `+`: `w`, `w+`, `F`, `F+`, `f+`, or
    `f`, which writes to no file that is there and only keeps others from the path. `owner`: mode, user, group and age.
    """

    kind: str
    path: str
    value: str | None
    place: str
    owner: tuple[str, ...] = ()


def names(line: Line, path: str) -> bool:
    """Returns whether a line writes to a path."""
    return globs.matches(path, line.path) if line.kind[0] == "w" else line.path == path


def find(lines: Iterable[Line], path: str) -> list[Line]:
    """Returns the lines that write to a path, the last of which counts."""
    return [line for line in lines if names(line, path)]


def order(lines: Iterable[Line]) -> list[Line]:
    """Returns the lines in the order in which systemd-tmpfiles goes about them, without those that it ignores.

    Lines that create files go first, then those with patterns. Of several lines for one path or pattern the first
    counts and the others are duplicates, but where all of them are `w+`, or one says the same as all before it. `F`
    goes before `f`. As parse_line(), item_compatible() and item_compare() of systemd have it.
    """
    items: dict[tuple[bool, str], tuple[list[Line], set[object], set[str]]] = {}
    for line in lines:
        known, texts, kinds = items.setdefault((line.kind[0] == "w", line.path), ([], set(), set()))
        text = (line.owner, line.place if line.value is None else (line.value,))
        if texts <= {text} or kinds | {line.kind} == {"w+"}:
            known.append(line)
            texts.add(text)
            kinds.add(line.kind)
    return [
        line
        for _, (known, _, _) in sorted(items.items(), key=lambda item: item[0][0])
        for line in sorted(known, key=lambda each: each.kind[0])
        if line.kind != "f"
    ]


def parse(text: str, file: str) -> list[Line]:
    """Returns the lines of one file that write to what a check looks at: `w PATH - - - - VALUE` and the like.

    Raises ValueError for a pattern that stands for too many.
    """
    if text.count("{") > MAX_BRACES:
        raise ValueError(f"it has more than {MAX_BRACES} braces")
    found = []
    for number, raw in enumerate(re.split(r"[\n\0]", text), 1):
        line = _parse_line(raw.strip(" \t\n\r"), f"{file}:{number}")
        if line is not None:
            found.append(line)
            if len(found) > MAX_LINES:
                raise ValueError(f"it has more than {MAX_LINES} lines for pools, policies, sysctls and affinities")
    return found


def _parse_line(line: str, place: str) -> Line | None:
    """Returns what a line writes, None if it writes nothing that a check looks at, or is refused."""
    # Most lines create directories, and are not looked at further.
    if line[:1] not in ("w", "f", "F", '"', "'", "\\") or len(line) > _MAX_LINE:
        return None
    fields, argument = _extract_words(line, 6)
    if len(fields) < 2 or (found := _TYPES.fullmatch(fields[0])) is None:
        return None
    _, path, mode, user, group, age = (*fields, *["-"] * (6 - len(fields)))
    pattern = _simplify_path(path)
    letter, modifiers = found[1], found[3]
    kind = f"{letter}+" if "+" in modifiers else letter
    if pattern is None or not (_MODE.fullmatch(mode) and _AGE.fullmatch(age)):
        return None
    if letter == "w" and not any(map(_is_wanted, expand(pattern))):
        return None
    if letter != "w" and (set(pattern) & set("*?[{\\") or not _is_wanted(pattern)):
        return None  # of these types the path is no pattern
    owner = (mode.removeprefix("0"), *("0" if name == "root" else name for name in (user, group)), age)
    if argument in ("", "-"):
        if letter == "w":
            return None
        argument = ""
    # Of a user or a group that the host does not have, the line is refused.
    known = all(name in ("-", "root", "0", ":root", ":0") for name in (user, group)) and not set("~^") & set(modifiers)
    value: str | None = None
    if known and not _SPECIFIER.search(argument.replace("%%", "")):
        value = _unescape(argument)
        if value is None:
            return None
    return Line(kind, pattern, value, place, owner)


def name_settings(line: Line) -> list[str]:
    """Returns the sysctls and the affinities that a line may write to, with the wildcards of its pattern in them; of
    all interrupts as `/proc/irq/*/FILE`."""
    return list(dict.fromkeys(name for path in expand(line.path) for name in _name_settings(path)))


def expand(pattern: str) -> list[str]:
    """Returns the patterns without braces that one stands for. Raises ValueError."""
    return globs.expand_braces(pattern, MAX_PATTERNS)


def _name_settings(pattern: str) -> list[str]:
    found = [shape.replace("#", "*") for shape in AFFINITIES if globs.may_match(pattern, shape)]
    _, *start, rest = [*pattern.split("/", 3), "", "", ""][:4]
    sought = rest.startswith(sysctl_values.SOUGHT) or sysctl_values.may_match(rest)
    if sought and all(map(globs.may_match, start, ("proc", "sys"))):
        found.append(f"/proc/sys/{rest}")
    return found


def _is_wanted(pattern: str) -> bool:
    return is_sought(pattern) or bool(_name_settings(pattern))


def is_sought(pattern: str) -> bool:
    """Returns whether a pattern without braces may name a file of a pool or of a policy."""
    return any(
        globs.may_match(pattern, shape)
        for shape in (
            hugetlb.TRANSPARENT,
            "/sys/kernel/mm/transparent_hugepage/hugepages-#kB/enabled",
            f"{hugetlb.NODES}/node#/hugepages/hugepages-#kB/nr_hugepages",
            f"{hugetlb.ALL_NODES}/hugepages-#kB/nr_hugepages",
            *hugetlb.DEFAULT_TOTALS,
        )
    )


def _extract_words(line: str, most: int) -> tuple[list[str], str]:
    """Returns the first words, without their quotes and backslashes, and what follows; no words for an open quote."""
    words: list[str] = []
    position = 0
    while len(words) < most and position < len(line):
        word: list[str] = []
        quote = ""
        while position < len(line):
            letter = line[position]
            position += 1
            if letter == "\\":
                if position == len(line):
                    return [], ""
                word.append(line[position])
                position += 1
            elif letter == quote:
                quote = ""
            elif not quote and letter in "\"'":
                quote = letter
            elif not quote and letter in " \t":
                break
            else:
                word.append(letter)
        if quote:
            return [], ""
        words.append("".join(word))
        position += len(line) - position - len(line[position:].lstrip(" \t"))
    return words, line[position:]


def _simplify_path(path: str) -> str | None:
    """Returns a path without `//`, `/.` and a slash at its end, None for one that is refused."""
    if not path.startswith("/") or _SPECIFIER.search(path.replace("%%", "")):
        return None
    parts = [part for part in path.replace("%%", "%").split("/") if part not in ("", ".")]
    return None if ".." in parts else "/" + "/".join(parts)


def _unescape(text: str) -> str | None:
    """Returns the text that an argument stands for, None if the line is refused for it."""
    pieces: list[str] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(text[position : match.start()])
        code = int(match[1], 16) if match[1] else int(match[2], 8) if match[2] else None
        if code == 0:
            return None
        pieces.append(_ESCAPES[match[3]] if code is None else chr(code))
        position = match.end()
    pieces.append(text[position:])
    if any("\\" in piece for piece in pieces[::2]):
        return None
    found = "".join(pieces)
    rest = found.replace("%%", "")
    return None if "%" in rest else found.replace("%%", "%")
