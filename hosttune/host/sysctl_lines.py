"""The lines of sysctl.d files, and which of them systemd-sysctl writes: for the check and for the roles.

Standard library only: the controller's planning of the roles reads files with it.
Sources: sysctl.d(5); systemd `src/sysctl/sysctl.c`, `src/basic/sysctl-util.c`; of the Linux kernel
`net/netfilter/nf_conntrack_standalone.c` (nf_ct_netfilter_table), `net/ipv4/devinet.c` (ctl_forward_entry),
`mm/hugetlb.c` (hugetlb_sysctl_handler_common).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
CONTROL = "net.ipv4.tcp_congestion_control"
ALLOWED = "net.ipv4.tcp_allowed_congestion_control"
#: Paths below /proc/sys that are names of one variable: what is written last to any of them counts.
_SAME = (
    ("net/netfilter/nf_conntrack_max", "net/nf_conntrack_max"),
    ("net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"),
    ("vm/nr_hugepages", "vm/nr_hugepages_mempolicy"),
)
_NAMES = {name: (name, *(other for other in names if other != name)) for names in _SAME for name in names}


class Assignment(NamedTuple):
    """One line of a sysctl.d file, or an argument of the kernel, whose `line` is 0.

    `key` is the path below /proc/sys and may be a glob; `value` is None for a line `-KEY` that excludes a
    key from globs.
    """

    key: str
    value: str | None
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


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


def list_names(key: str) -> tuple[str, ...]:
    """Returns the paths below /proc/sys of the variable that a key sets, that of the key first."""
    path = normalise_key(key)
    return _NAMES.get(path, (path,))


def parse(text: str, file: str) -> list[Assignment]:
    """Returns the lines of one file; lines that systemd-sysctl would refuse are left out, as it does."""
    found: list[Assignment] = []
    known: dict[str, str] = {}
    make = tuple.__new__  # without the Python of a named tuple: a file may have half a million lines
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
            found.append(make(Assignment, (path, value.strip(SPACES) if equals else None, file, number)))
    globs = {path for path in known.values() if not WILDCARDS.isdisjoint(path)}
    if globs and sum(line.key in globs for line in found) > MAX_GLOBS:
        raise ValueError(f"more than {MAX_GLOBS} keys with wildcards")
    return found


def find_winner(assignments: list[Assignment], key: str) -> Assignment | None:
    """Returns the line of `Sysctls.boot` that is written last for a key, None if no line is."""
    return next(iter(find_written(assignments, key)), None)


def find_written(assignments: list[Assignment], key: str) -> list[Assignment]:
    """Returns the lines of `Sysctls.boot` that are written for a key, by whatever name, the last one first.

    The next one counts where the kernel refuses the one before it. A line with a glob is written for a name only if no
    line has that very name, be it to exclude it.
    """
    names = list_names(key)
    named = {line.key for line in assignments if line.key in names}
    return list(reversed(_choose(assignments, names, [name for name in names if name not in named])))


def find_forbidding(assignments: list[Assignment], name: str) -> Assignment | None:
    """Returns the line of `Sysctls.boot` that takes a congestion control off the allowed ones again, after it was
    chosen, which allows it (`net/ipv4/tcp_cong.c`)."""
    line = find_winner(assignments, ALLOWED)
    if line is None or name in (line.value or "").split():
        return None
    chosen = find_winner(assignments, CONTROL)
    later = chosen is not None and chosen.value == name and assignments.index(chosen) > assignments.index(line)
    return None if later else line


def find_lines(assignments: list[Assignment], key: str) -> list[Assignment]:
    """Returns all lines that give a key a value, by any of its names or by a glob."""
    names = list_names(key)
    return _choose(assignments, names, names)


def _choose(assignments: list[Assignment], names: Sequence[str], by_glob: Sequence[str]) -> list[Assignment]:
    """Returns the lines with a value that have one of the names, or a glob that one of `by_glob` matches."""
    return [
        line
        for line in assignments
        if line.value is not None
        and (line.key in names or (by_glob and is_glob(line) and any(matches(name, line.key) for name in by_glob)))
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
