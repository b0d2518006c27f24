# SPDX-License-Identifier: Apache-2.0
"""What users may give to roles, by kind of value: one rule, whatever files and commands the value ends up in.

Each rule refuses what any of them would take for more than the value: systemd's units (systemd.syntax(7): lines, `%`,
`$`, quotes), TOML, YAML, shell words, limits.d, sysctl.d, GRUB's shell. Digits are ASCII's, and patterns have to match
the whole value, with no line end after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from hosttune.host import irq_plan

from . import cpu_lists


class Rule(NamedTuple):
    """holds: tells whether a value is allowed. allowed: what is, for the message."""

    holds: Callable[[object], bool]
    allowed: str


def find_problems(variables: Mapping[str, object], rules: Mapping[str, Rule]) -> list[str]:
    """Returns a line for each variable that is wrong: its name, what was found, and what is allowed."""
    return [
        f"{name} is {cpu_lists.show(variables[name])}: allowed: {rule.allowed}"
        for name, rule in rules.items()
        if not rule.holds(variables[name])
    ]


def make_text(pattern: str, allowed: str) -> Rule:
    """Returns the rule of text that a pattern matches as a whole."""
    compiled = re.compile(pattern)
    return Rule(lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None, allowed)


def make_number(least: int, most: int) -> Rule:
    """Returns the rule of a whole number: YAML's, or the same as text."""

    def holds(value: object) -> bool:
        number = read_number(value)
        return number is not None and least <= number <= most

    return Rule(holds, f"a number from {least} to {most}")


def make_list(rule: Rule) -> Rule:
    """Returns the rule of a list in which a rule holds for each."""
    return Rule(lambda value: isinstance(value, list) and all(map(rule.holds, value)), f"a list, each {rule.allowed}")


def make_choice(*words: str) -> Rule:
    """Returns the rule of one of some words."""
    return Rule(lambda value: value in words, f"one of {', '.join(words)}")


def either(first: Rule, second: Rule) -> Rule:
    """Returns the rule of what one of two rules allows."""
    return Rule(lambda value: first.holds(value) or second.holds(value), f"{first.allowed}; or {second.allowed}")


def read_number(value: object) -> int | None:
    """Returns the number that a value of YAML, or of the command line, means; None if it means none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    return None


def _is_interface(value: object) -> bool:
    try:
        irq_plan.check_interface(str(value))
    except ValueError:
        return False
    return INTERFACE_TEXT.holds(value)


def _is_host_path(value: object) -> bool:
    return _HOST_PATH.holds(value) and not {".", ".."} & set(str(value).split("/"))


def _is_cpu_list(value: object) -> bool:
    try:
        cpu_lists.read("", value)
    except ValueError:
        return False
    return True


NOTHING = make_text("", '""')
#: As useradd(8) of current releases of shadow takes it, without `$`, and without names that are numbers.
USER = make_text(
    r"[A-Za-z_][A-Za-z0-9_.-]{0,31}",
    "the name of a user or group: at most 32 letters, digits, `_`, `.` and `-`, first a letter or `_`",
)
UNPRIVILEGED = Rule(lambda value: USER.holds(value) and value != "root", f"{USER.allowed}; not root")
#: Of what a kernel allows in a name (everything but `/`, `:` and space), what is safe in every file.
INTERFACE_TEXT = make_text(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*", "")
INTERFACE = Rule(
    _is_interface,
    "the name of a network interface: at most 15 letters, digits and any of `_.@+-`, first a letter, a digit or `_`",
)
CPU_LIST = Rule(_is_cpu_list, 'a quoted list of CPUs such as "2-3,6"')
KERNEL_NAME = make_text(r"[a-z0-9_]{1,32}", "a name of the kernel's such as bbr or fq: small letters, digits and `_`")
BOOT_PARAMETER = make_text(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "the name of a kernel parameter: letters, digits, `_`, `.` and `-`"
)
RELEASE = make_text(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", "the name of a release: letters, digits, `_`, `.`, `+` and `-`")
KEPT_RELEASES = Rule(
    make_number(2, 1000).holds, "a number from 2 to 1000: with less than 2 there is nothing to roll back to"
)
FINDING = make_text(
    r"[A-Za-z0-9_][A-Za-z0-9_.:@/+-]*", "the id of a finding: letters, digits and any of `_.:@/+-`, no space"
)
ARGUMENT = make_text(
    r"[ !#&(-\[\]-_a-~]*", "an argument of printable ASCII characters without `%`, `$`, `\\` and quotes"
)
CALENDAR = make_text(
    r"[A-Za-z0-9*:,./~+_-]+( [A-Za-z0-9*:,./~+_-]+)*",
    "a calendar expression of systemd.time(7) such as hourly or Mon..Fri 06:00, in one line",
)
_HOST_PATH = make_text(r"(/[A-Za-z0-9_.+@:-]+)+", "")
HOST_PATH = Rule(
    _is_host_path, "an absolute path on the host: letters, digits and any of `_.+@:-`, no `.` or `..` part"
)
CONTROLLER_PATH = make_text(
    r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff-][^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*",
    "a path on the controller, without control characters and without `-` before it",
)
