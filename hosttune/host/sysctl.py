"""sysctl: the running value of a key, and the line that decides it at the next boot.

Sources: sysctl.d(5); systemd `src/sysctl/sysctl.c` and `src/basic/sysctl-util.c`; procps `sysctl.c`;
`Documentation/admin-guide/sysctl/` of the Linux kernel.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from hosttune.host import dropins
from hosttune.host.root import Fact, Root

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
UNMERGED = "/lib/sysctl.d"  # the same directory as the last, unless /usr is not merged
CONF = "/etc/sysctl.conf"
WILDCARDS = frozenset("*?[")

_SEPARATORS = re.compile(r"[/.]")


class Assignment(msgspec.Struct, frozen=True):
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


class Sysctls(msgspec.Struct, frozen=True):
    """Running values by key as asked for, and the lines of all files in the order in which they are applied.

    `boot` is what systemd-sysctl applies. `manual` is the same and then /etc/sysctl.conf, as procps's
    `sysctl --system` does; on most hosts a link in /etc/sysctl.d makes both the same.
    """

    running: dict[str, Fact[str]]
    boot: Fact[list[Assignment]]
    manual: Fact[list[Assignment]]


def read(root: Root, keys: Iterable[str]) -> Sysctls:
    """Read the running value of each key, and all configuration files."""
    running = {key: root.read(build_path(key)).map(str.strip) for key in keys}
    files = dropins.list_merged(root, _list_directories(root), ".conf")
    boot = _read_assignments(root, [file for file in files.value or [] if not posixpath.basename(file).startswith(".")])
    if files.state == "unreadable":
        boot = files.drop_value()
    conf = dropins.read_text(root, CONF)
    manual = boot
    if conf.state == "unreadable":
        manual = conf.drop_value()
    elif conf.value is not None and boot.value is not None:
        manual = Fact("value", [*boot.value, *parse(conf.value, CONF)], boot.source)
    return Sysctls(running, boot, manual)


def normalise_key(key: str) -> str:
    """Returns the path below /proc/sys that a key means.

    If the first separator is a dot, dots separate and a slash stands for a dot in a name (an interface
    `eth0.100` is written `net.ipv4.conf.eth0/100.rp_filter`); if it is a slash, the key is a path already.
    """
    first = _SEPARATORS.search(key)
    if first is not None and first[0] == ".":
        key = key.translate({ord("."): "/", ord("/"): "."})
    return posixpath.normpath(key).lstrip("/")


def build_path(key: str) -> str:
    """Returns the file below /proc/sys that holds a key."""
    return f"/proc/sys/{normalise_key(key)}"


def parse(text: str, file: str) -> list[Assignment]:
    """Returns the lines of one file; lines that systemd-sysctl would refuse are left out, as it does."""
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        excludes = key.startswith("-")
        key = key.strip().removeprefix("-").strip()
        if key and (equals or excludes):
            found.append(Assignment(normalise_key(key), value.strip() if equals else None, file, number))
    return found


def find_winner(assignments: list[Assignment], key: str) -> Assignment | None:
    """Returns the line that decides a key, None if no line does.

    The last line that names it; a line with a glob counts only if no line names the key itself.
    """
    wanted = normalise_key(key)
    named = [line for line in assignments if line.key == wanted]
    if named:
        return named[-1] if named[-1].value is not None else None
    globs = [line for line in assignments if WILDCARDS & set(line.key) and _matches(wanted, line.key)]
    return globs[-1] if globs and globs[-1].value is not None else None


def _matches(path: str, pattern: str) -> bool:
    """glob(7): a wildcard does not match a slash."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _list_directories(root: Root) -> list[str]:
    return [*DIRECTORIES, *([UNMERGED] if root.list(UNMERGED).state == "value" else [])]


def _read_assignments(root: Root, files: list[str]) -> Fact[list[Assignment]]:
    found: list[Assignment] = []
    for file in files:
        text = dropins.read_fragment(root, file)
        if text.state == "unreadable":
            return text.drop_value()
        found += parse(text.value or "", file)
    return Fact("value", found, DIRECTORIES[0])
