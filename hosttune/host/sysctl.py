"""sysctl: the running value of a key, and the line that decides it at the next boot.

Sources: sysctl.d(5); systemd `src/sysctl/sysctl.c`, `src/basic/sysctl-util.c`; procps `src/sysctl.c`, its init script;
`Documentation/admin-guide/sysctl/` of the Linux kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

import msgspec

from hosttune.host import dropins
from hosttune.host.forms import DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root
from hosttune.host.sysctl_lines import WILDCARDS, Assignment, is_glob, matches, normalise_key, parse, settle
from hosttune.host.systemd_lines import split_lines
from hosttune.patterns import late_pattern

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
CONF = "/etc/sysctl.conf"

#: Keys that hold words, and that a check asks for.
WORD_KEYS = frozenset(
    {"net/core/default_qdisc", "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_allowed_congestion_control"}
)
#: Of one key, to tell what a line overrules.
MAX_LINES = 100
_MAX_VALUE = 4096  # characters

# Paths below /proc/sys, and the beginning of those that a profile may name.
_SOUGHT = ("net/", "vm/nr_hugepages", "kernel/sched_rt_runtime_us", "fs/nr_open")
_PARTS = late_pattern(r"[ \t]+|[^ \t]+")
# A number, or what somebody takes for one and the kernel does not.
_LIKE_NUMBER = late_pattern(r"[+-]{0,2}(?:0[xX][0-9a-fA-F]{1,16}|(?:0[bBoO])?[0-9][0-9_.,]{0,22}[kKmMgGtT]?)", re.ASCII)

_SERVICE = "systemd-sysctl.service"
_UNITS = "/etc/systemd/system"
_INIT_SCRIPT = "/etc/init.d/procps"


class Sysctls(msgspec.Struct, frozen=True):
    """Running values by key as asked for, and what the next boot applies.

    `boot` is what the program that applies sysctls at boot is left with, in the order in which it writes. `lines` are
    the lines of its files, the last MAX_LINES for each key, and `gone` those of files in /run, which that boot does not
    find. All are of the keys that were asked for, and of globs.
    """

    running: dict[str, Fact[str]]
    boot: Fact[list[Assignment]]
    lines: Fact[list[Assignment]]
    gone: Fact[list[Assignment]]


def read(root: Root, keys: Iterable[str]) -> Sysctls:
    """Read the running value of each key, and all configuration files."""
    running = {key: root.read(build_path(key)).map(str.strip) for key in keys}
    sought = frozenset(map(normalise_key, running))
    directories = dropins.find_directories(root, "sysctl.d")
    lines = _read_lines(root, directories, sought, lasting=True)
    gone = _read_lines(root, [each for each in directories if not dropins.outlives_boot(each)], sought)
    if _starts_procps(root):
        conf = root.read(CONF).map(partial(parse, file=CONF))
        lines = conf.drop_value() if conf.state == "unreadable" else lines.map(lambda found: found + (conf.value or []))
        lines = lines.map(partial(_choose_lines, sought))
        return Sysctls(running, lines, lines, gone)  # `sysctl --system` writes one line after the other
    masked = _is_masked(root)
    boot = lines.map(settle)
    if masked.value is None:
        boot = masked.drop_value()
    elif masked.value:
        boot = Fact("absent", None, masked.source, f"{_SERVICE} is masked: no file of sysctl.d is applied at boot")
    return Sysctls(running, boot, lines.map(_choose_last), gone)


def build_path(key: str) -> str:
    """Returns the file below /proc/sys that holds a key."""
    return f"/proc/sys/{normalise_key(key)}"


def reduce(text: str, asked: frozenset[str] = frozenset()) -> str:
    """Returns the lines of a file that can decide a key which a check may ask for, each where it was.

    That is any of net.*, and a few others. A value is kept if it is of numbers; a word only of WORD_KEYS and of what is
    `asked` for (paths below /proc/sys): a key of net.* may hold a cryptographic one. Raises ValueError.
    """
    kept = [""] * len(split_lines(text))
    for line in parse(text, ""):
        if line.key.startswith(_SOUGHT) or line.key in asked or _may_match(line.key):
            # The slash in front: the first separator says how the key is read.
            kept[line.line - 1] = (
                f"/{line.key} = {_keep_value(line, asked)}" if line.value is not None else f"-/{line.key}"
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


def _starts_procps(root: Root) -> bool:
    """Returns whether the init script of procps applies sysctls at boot: systemd has a service of its own."""
    directory, _, name = _INIT_SCRIPT.rpartition("/")
    if name not in (root.list(directory).value or []):
        return False
    init = root.link("/sbin/init")
    return init.state == "absent" or (init.value is not None and "systemd" not in init.value)


def _is_masked(root: Root) -> Fact[bool]:
    """Returns whether the administrator masked the service that applies sysctls at boot."""
    names = root.list(_UNITS)
    if names.state == "unreadable":
        return names.drop_value()
    path = f"{_UNITS}/{_SERVICE}"
    if _SERVICE not in (names.value or []):
        return Fact("value", False, path)
    link = root.link(path)
    if link.state == "unreadable":
        return link.drop_value()
    return Fact("value", link.value == "/dev/null" or root.read(path).value == "", path)


def _may_match(pattern: str) -> bool:
    """Returns whether a key with a wildcard may mean one that a check asks for."""
    first, _, _ = pattern.partition("/")
    return not WILDCARDS.isdisjoint(pattern) and any(matches(key.partition("/")[0], first) for key in _SOUGHT)


def _keep_value(line: Assignment, asked: frozenset[str]) -> str:
    value = line.value or ""
    if is_numeric(value):
        return value
    for keys, longest in ((WORD_KEYS, 15), (asked, 64)):
        known = all(consists_of(word, f"{NAME}.,:+", longest) for word in value.split()[:33])
        if known and len(value) <= 1024 and (line.key in keys or any(matches(key, line.key) for key in keys)):
            return value
    return _keep_numbers(value)


def _keep_numbers(value: str) -> str:
    """Returns a value with what is like a number left in it: the kernel may refuse it, or look no further."""
    kept = []
    for part in _PARTS.findall(value[:_MAX_VALUE]):
        number = part.lstrip("\v\f")
        like = not number.strip() or _LIKE_NUMBER.fullmatch(number)
        kept.append(part if like else UNINTELLIGIBLE)
        if not like:
            break
    return "".join(kept)


def _choose_lines(sought: frozenset[str], lines: list[Assignment]) -> list[Assignment]:
    return [line for line in lines if line.key in sought or is_glob(line)]


def _choose_last(lines: list[Assignment]) -> list[Assignment]:
    """Returns the last MAX_LINES lines of each key, in their order."""
    left: dict[str, int] = {}
    chosen = []
    for line in reversed(lines):
        left[line.key] = left.get(line.key, 0) + 1
        if left[line.key] <= MAX_LINES:
            chosen.append(line)
    return chosen[::-1]


def _read_lines(
    root: Root, directories: list[str], sought: frozenset[str], *, lasting: bool = False
) -> Fact[list[Assignment]]:
    files = dropins.read_merged(root, directories, ".conf", lasting=lasting)
    if files.value is None:
        return files.drop_value()
    found: list[Assignment] = []
    for file, text in files.value:
        lines = Fact("value", text, file).map(partial(parse, file=file))
        if lines.value is None:
            return lines.drop_value()
        found += _choose_lines(sought, lines.value)
    return Fact("value", found, DIRECTORIES[0])
