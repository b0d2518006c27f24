"""The lines of sysctl.d files, and which of them systemd-sysctl writes: for the check and for the roles.

Standard library only: the controller's planning of the roles reads files with it.
Sources: sysctl.d(5); systemd `src/sysctl/sysctl.c`, `src/basic/sysctl-util.c`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

from hosttune.host.systemd_lines import SPACES, split_lines
from hosttune.patterns import late_pattern

WILDCARDS = frozenset("*?[")
#: Of one file: each has to be compared with each key that is asked for.
MAX_GLOBS = 1000
_MAX_PATTERN = 4096  # a longer one is no path
_SEPARATORS = late_pattern(r"[/.]")


class Assignment(NamedTuple):
    """One line of a sysctl.d file.

    `key` is the path below /proc/sys and may be a glob; `value` is None for a line `-KEY` that excludes a
    key from globs.
    """

    key: str
    value: str | None
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def normalise_key(key: str) -> str:
    """Returns the path below /proc/sys that a key means.

    If the first separator is a dot, dots separate and a slash stands for a dot in a name (an interface
    `eth0.100` is written `net.ipv4.conf.eth0/100.rp_filter`); if it is a slash, the key is a path already. What is
    empty or `.` between two separators is dropped; a path with `..` stays as it is, which systemd refuses to write.
    """
    first = _SEPARATORS.search(key)
    if first is not None and first[0] == ".":
        key = key.translate({ord("."): "/", ord("/"): "."})
    return "/".join(part for part in key.split("/") if part not in ("", "."))


def parse(text: str, file: str) -> list[Assignment]:
    """Returns the lines of one file; lines that systemd-sysctl would refuse are left out, as it does."""
    found = []
    known: dict[str, str] = {}
    for number, raw in enumerate(split_lines(text), 1):
        line = raw.strip(SPACES)
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if not equals and not line.startswith("-"):
            continue
        path = known.get(key)
        if path is None:
            path = known[key] = normalise_key(key.removeprefix("-").strip(SPACES))
        if path:
            found.append(Assignment(path, value.strip(SPACES) if equals else None, file, number))
    if sum(map(is_glob, found)) > MAX_GLOBS:
        raise ValueError(f"more than {MAX_GLOBS} keys with wildcards")
    return found


def find_winner(assignments: list[Assignment], key: str) -> Assignment | None:
    """Returns the line of `Sysctls.boot` that is written last for a key, None if no line is."""
    return next(iter(find_written(assignments, key)), None)


def find_written(assignments: list[Assignment], key: str) -> list[Assignment]:
    """Returns the lines of `Sysctls.boot` that are written for a key, the last one first.

    The next one counts where the kernel refuses the one before it. A line with a glob is written only if no line names
    the key itself, be it to exclude it.
    """
    wanted = normalise_key(key)
    named = [line for line in assignments if line.key == wanted]
    lines = named or [line for line in assignments if is_glob(line) and matches(wanted, line.key)]
    return [line for line in reversed(lines) if line.value is not None]


def find_lines(assignments: list[Assignment], key: str) -> list[Assignment]:
    """Returns all lines that give a key a value, by its name or by a glob."""
    wanted = normalise_key(key)
    return [
        line
        for line in assignments
        if line.value is not None and (line.key == wanted or (is_glob(line) and matches(wanted, line.key)))
    ]


def settle(lines: Iterable[Assignment]) -> list[Assignment]:
    """Returns what systemd-sysctl writes: one line for each key or glob, in the order of their last change.

    A line that repeats the value which its key has already stays where the first one was.
    """
    options: dict[str, Assignment] = {}
    for line in lines:
        known = options.get(line.key)
        if known is None or known.value != line.value:
            options.pop(line.key, None)
            options[line.key] = line
    return list(options.values())


def is_glob(line: Assignment) -> bool:
    return not WILDCARDS.isdisjoint(line.key)


def matches(path: str, pattern: str) -> bool:
    """glob(7): a wildcard does not match a slash, and `[^a]` is `[!a]`."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(_matches_part, parts, patterns))


def _matches_part(part: str, pattern: str) -> bool:
    if len(pattern) > _MAX_PATTERN:
        return False
    return part == pattern if WILDCARDS.isdisjoint(pattern) else _compile(pattern).fullmatch(part) is not None


@lru_cache(4 * MAX_GLOBS)
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace("[^", "[!")))
