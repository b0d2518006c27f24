"""sysctl: the running value of a key, and the line that decides it at the next boot.

Sources: sysctl.d(5); systemd `src/sysctl/sysctl.c` and `src/basic/sysctl-util.c`; procps `sysctl.c`;
`Documentation/admin-guide/sysctl/` of the Linux kernel.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import partial

import msgspec

from hosttune.host import dropins
from hosttune.host.forms import DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
UNMERGED = "/lib/sysctl.d"  # the same directory as the last, unless /usr is not merged
CONF = "/etc/sysctl.conf"
WILDCARDS = frozenset("*?[")

#: Keys that hold words, and that a check asks for.
WORD_KEYS = frozenset(
    {"net/core/default_qdisc", "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_allowed_congestion_control"}
)
#: Of one file: each has to be compared with each key that is asked for.
MAX_GLOBS = 1000
_MAX_VALUE = 4096  # characters

# Paths below /proc/sys, and the beginning of those that a profile may name.
_SOUGHT = ("net/", "vm/nr_hugepages", "kernel/sched_rt_runtime_us")
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
        manual = conf.map(lambda text: [*(boot.value or []), *parse(text, CONF)])
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
    if len([1 for line in found if not WILDCARDS.isdisjoint(line.key)]) > MAX_GLOBS:
        raise ValueError(f"more than {MAX_GLOBS} keys with wildcards")
    return found


def reduce(text: str, asked: frozenset[str] = frozenset()) -> str:
    """Returns the lines of a file that can decide a key which a check may ask for, each where it was.

    That is any of net.*, and a few others. A value is kept if it is of numbers; a word only of WORD_KEYS and of what is
    `asked` for (paths below /proc/sys): a key of net.* may hold a cryptographic one. Raises ValueError.
    """
    kept = [""] * len(text.splitlines())
    for line in parse(text, ""):
        if line.key.startswith(_SOUGHT) or line.key in asked or _may_match(line.key):
            kept[line.line - 1] = (
                f"{line.key} = {_keep_value(line, asked)}" if line.value is not None else f"-{line.key}"
            )
    return "".join(f"{line}\n" for line in kept)


def reduce_value(text: str) -> str:
    """Returns the text of a file below /proc/sys that holds numbers. Raises ValueError for any other."""
    if not is_numeric(text.strip()):
        raise ValueError("it holds other than numbers")
    return text


def is_numeric(value: str) -> bool:
    """Returns whether a value is of numbers alone."""
    words = value.split() if len(value) <= _MAX_VALUE else [""]
    return len(words) <= 64 and all(map(_is_number, words))


def _is_number(word: str) -> bool:
    digits = word[1:] if word[:1] in ("+", "-") else word
    if digits[:2] in ("0x", "0X"):
        return len(digits) > 2 and consists_of(digits[2:], f"{DIGITS}abcdefABCDEF", 16)
    return digits != "" and consists_of(digits, DIGITS, 20)


def find_winner(assignments: list[Assignment], key: str) -> Assignment | None:
    """Returns the line that decides a key, None if no line does.

    The last line that names it; a line with a glob counts only if no line names the key itself.
    """
    wanted = normalise_key(key)
    named = [line for line in assignments if line.key == wanted]
    if named:
        return named[-1] if named[-1].value is not None else None
    globs = [line for line in assignments if not WILDCARDS.isdisjoint(line.key) and _matches(wanted, line.key)]
    return globs[-1] if globs and globs[-1].value is not None else None


def _may_match(pattern: str) -> bool:
    """Returns whether a key with a wildcard may mean one that a check asks for."""
    first, _, _ = pattern.partition("/")
    return not WILDCARDS.isdisjoint(pattern) and any(fnmatchcase(key.partition("/")[0], first) for key in _SOUGHT)


def _keep_value(line: Assignment, asked: frozenset[str]) -> str:
    value = line.value or ""
    if is_numeric(value):
        return value
    for keys, longest in ((WORD_KEYS, 15), (asked, 64)):
        known = all(consists_of(word, f"{NAME}.,:+", longest) for word in value.split()[:33])
        if known and len(value) <= 1024 and (line.key in keys or any(_matches(key, line.key) for key in keys)):
            return value
    return UNINTELLIGIBLE


def _matches(path: str, pattern: str) -> bool:
    """glob(7): a wildcard does not match a slash."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _list_directories(root: Root) -> list[str]:
    return [*DIRECTORIES, *([UNMERGED] if root.list(UNMERGED).state == "value" else [])]


def _read_assignments(root: Root, files: list[str]) -> Fact[list[Assignment]]:
    found: list[Assignment] = []
    for file in files:
        lines = dropins.read_fragment(root, file).map(partial(parse, file=file))
        if lines.state == "unreadable":
            return lines.drop_value()
        found += lines.value or []
    return Fact("value", found, DIRECTORIES[0])
