"""Which services write to the pools and policies of huge pages at boot, and what: those that are enabled.

Most such services are a line of shell, `ExecStart=/bin/sh -c 'echo never > /sys/kernel/mm/...'`, or run a script of
such lines. Another form of writing is not understood, and then nobody can say here what the next boot has.
Source: systemd.service(5), "Command lines".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

import msgspec

from hosttune.host import commands, globs, hugetlb, systemd, systemd_lines, tmpfiles_lines
from hosttune.host.forms import DIGITS, NAME, consists_of
from hosttune.host.root import Fact, Root, derive
from hosttune.patterns import late_pattern

#: What the path of each of these files has in it.
MARKS = ("transparent_hugepage", "nr_hugepages")
COMMANDS = ("ExecStartPre", "ExecStart", "ExecStartPost")
#: What systemd's rc-local.service runs; a generator has it started where this may be executed.
RC_LOCAL = "/etc/rc.local"
#: In place of what a command writes, or of where it writes, that is not understood.
UNKNOWN = "?"
_MOST = 64

_PATH = late_pattern(r"/sys/[^\s\"'`;|&()<>]*|\?(?:transparent_hugepage|nr_hugepages)\b")
_ECHO = late_pattern(
    r"""(?:^|[;|&({}\n"']|\b(?:then|do|else|exec)\b)\s*(?:/usr/bin/|/bin/)?(?:echo|printf)\s+(?:-n\s+)?
        (["']?)([a-z]+|[0-9]{1,20})(?:\\n)?\1\s*
        (?:>{1,2}\s*|\|\s*(?:sudo\s+)?(?:/usr/bin/|/bin/)?tee\s+(?:-a\s+)?)
        (["']?)([^\s"'`;|&()<>]+)\3(?=$|[\s;|&)}"'])""",
    re.VERBOSE,
)
# What reads such a file, or looks whether it is there.
_LOOKS = late_pattern(r"(?:\[\[?|\btest)\s+(?:!\s+)?-[a-z]\s+\S+|\b(?:cat|grep|ls)\s[^;|&<>\n]*")
_SHELL_VARIABLE = late_pattern(r"\$\{?\w+\}?")


class Write(msgspec.Struct, frozen=True):
    """`value` and `path` are `?` where they are not understood; a path may be a pattern. `place` is the unit."""

    path: str
    value: str
    place: str


def find(writes: Iterable[Write], path: str) -> list[Write]:
    """Returns those that may write to a path, the ones that are not understood too."""
    mark = MARKS[MARKS[1] in path]
    return [each for each in writes if globs.matches(path, each.path) or (each.path == UNKNOWN + mark)]


def read(root: Root) -> Fact[list[Write]]:
    """Returns what enabled services write, in no order, and what RC_LOCAL does."""
    units = systemd.read_started_services(root)
    if units.value is None:
        return units.drop_value()
    found: list[Write] = []
    for unit in units.value:
        if unit.state == "installed":
            found += _find_writes(root, unit)
    script = root.read(RC_LOCAL)
    if script.state == "unreadable":
        return script.drop_value()
    return Fact("value", found + parse(script.value or "", RC_LOCAL), systemd.UNITS[0])


def _find_writes(root: Root, unit: systemd.Unit) -> list[Write]:
    found: list[Write] = []
    for key in COMMANDS:
        for setting in systemd_lines.list_settings(unit.settings, "Service", key):
            found += parse(setting.value, setting.source)
            for script in commands.find_scripts(setting.value)[: commands.MAX_PATHS]:
                text = derive(root, f"{script}:writes", partial(_read_script, script))
                found += parse(text.value or "", f"{setting.source} ({script})")
    return found


def _read_script(path: str, root: Root) -> Fact[str]:
    return root.read(path).map(reduce)


def parse(text: str, place: str) -> list[Write]:
    """Returns what a command line, or a script, writes to these files."""
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    if not any(mark in text for mark in MARKS):
        return []
    found: dict[Write, None] = {}
    for match in _ECHO.finditer(text):
        path = _find_pattern(match[4])
        if path:
            found[Write(path, match[2] if path == match[4] else UNKNOWN, place)] = None
    # Each naming of such a file that is no such write may be one in other words.
    for name in _PATH.findall(_LOOKS.sub("", _ECHO.sub("\n", text))):
        path = _find_pattern(name)
        if path:
            found[Write(path, UNKNOWN, place)] = None
    return list(found)[:_MOST]


def reduce(text: str) -> str:
    """Returns of a command line, or of a script, what it writes to these files, as commands; else empty text."""
    return "; ".join(
        f"echo {each.value} > {each.path}" if _is_known(each.value) else f"tee {each.path}" for each in parse(text, "")
    )


def _is_known(value: str) -> bool:
    return value in (*hugetlb.POLICIES, "inherit") or consists_of(value, DIGITS, 20)


def _find_pattern(name: str) -> str:
    """Returns the path or the pattern of such files that a word of shell stands for; `?` and the kind of file where it
    may be one, and an empty string where it is another."""
    pattern = _SHELL_VARIABLE.sub("*", name)
    mark = next((mark for mark in MARKS if mark in pattern), "")
    if consists_of(pattern, f"{NAME}/*?[]{{}},", 120) and pattern.startswith("/sys/"):
        if tmpfiles_lines.is_sought(pattern):
            return pattern
        if not pattern.endswith(("transparent_hugepage", "transparent_hugepage/")) and "*" not in pattern:
            return ""
    return UNKNOWN + mark if mark else ""
