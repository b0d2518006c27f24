"""Resource limits: as systemd's units write them, and as a process has them.

Standard library only: the controller's planning of the roles reads limits with it.
Sources: systemd.exec(5) ("Process properties"), systemd-system.conf(5); setrlimit(2); proc_pid_limits(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from hosttune.host.limits_lines import ITEMS, UNLIMITED
from hosttune.host.systemd_lines import Setting
from hosttune.patterns import late_pattern

# No value has more digits than an unsigned 64-bit number.
_INTEGER = late_pattern(r"[-+]?[0-9]{1,20}")
_BLANKS = " \t\n\r"
_UNSIGNED = late_pattern(r"([-+]?)(0[xX]|0[bB]|0[oO]|)([0-9a-fA-F]{1,80})")
_BASES = {"0x": 16, "0b": 2, "0o": 8}
_SIZE = late_pattern(r"[ \t\n\v\f\r]*([-+]?)([0-9]+)(?:\.([0-9]*))?[ \t\n\r]*(.*)", re.DOTALL)
_UNITS = ("E", "P", "T", "G", "M", "K", "B", "")
_FACTORS = (2**60, 2**50, 2**40, 2**30, 2**20, 2**10, 1, 1)
_MAX_PROC = 1 << 14  # characters of /proc/PID/limits

#: Resource limits by the name that setrlimit(2) has after RLIMIT_: how /proc/PID/limits begins their line.
PROC_LINES = {
    "cpu": "Max cpu time",
    "fsize": "Max file size",
    "data": "Max data size",
    "stack": "Max stack size",
    "core": "Max core file size",
    "rss": "Max resident set",
    "nproc": "Max processes",
    "nofile": "Max open files",
    "memlock": "Max locked memory",
    "as": "Max address space",
    "sigpending": "Max pending signals",
    "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority",
    "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout",
}


#: fs.nr_open, the most that RLIMIT_NOFILE may be (setrlimit(2)), as the kernel begins with it (`fs/file.c`), and as
#: systemd raises it at boot, where it was built so (`bump_file_max_and_nr_open()` in `src/core/main.c`).
FIRST_NR_OPEN, RAISED_NR_OPEN = 1048576, 1073741816


def choose_nr_open(now: int | None, written: int | None) -> int:
    """Returns fs.nr_open of the next boot: what a file has written, else what the kernel or systemd begins with, and
    not what somebody wrote since."""
    if written is not None:
        return written
    return now if now in (FIRST_NR_OPEN, RAISED_NR_OPEN) and now is not None else FIRST_NR_OPEN


class Limit(NamedTuple):
    """Soft and hard value as setrlimit(2) counts them: bytes, a priority, 20 minus the nice value."""

    soft: int
    hard: int
    source: str = ""


def parse_systemd(item: str, text: str, source: str = "") -> Limit:
    """Read a value of LimitMEMLOCK= and the like: `infinity`, `64M`, `1.5G`, `SOFT:HARD`, for nice `-20` or `40`.

    Raises ValueError for what systemd ignores: `rlimit_parse()` in `src/basic/rlimit-util.c` of systemd.
    """
    words = text.split(":")
    if len(words) > 2:
        raise ValueError(f"{text[:40]!r} has more than a soft and a hard limit")
    values = [_parse_systemd_value(item, word) for word in words]
    if values[0] > values[-1]:
        raise ValueError(f"{text[:40]!r}: the soft limit is above the hard limit")
    return Limit(values[0], values[-1], source)


class LimitSetting(NamedTuple):
    """What a unit or the manager says of a limit: `limit` is None where nothing that counts does; `ignored` is the last
    assignment that systemd does not understand, `reason` why."""

    limit: Limit | None = None
    ignored: Setting | None = None
    reason: str = ""


def find_limit(settings: Iterable[Setting], section: str, item: str) -> LimitSetting:
    """Returns the limit that settings come to: one that systemd does not understand changes nothing, and an empty one
    is such (`config_parse_rlimit` in `src/shared/conf-parser.c` of systemd)."""
    key = f"Default{ITEMS[item]}" if section == "Manager" else ITEMS[item]
    found = LimitSetting()
    for setting in settings:
        if (setting.section, setting.key) != (section, key):
            continue
        try:
            found = LimitSetting(parse_systemd(item, setting.value, setting.source))
        except ValueError as error:
            found = LimitSetting(found.limit, setting, str(error))
    return found


def parse_proc(text: str, source: str = "") -> dict[str, Limit]:
    """Read /proc/PID/limits, by the names of :data:`PROC_LINES`. Raises ValueError."""
    if len(text) > _MAX_PROC:
        raise ValueError(f"{len(text)} characters; the kernel writes fewer than {_MAX_PROC}")
    found: dict[str, Limit] = {}
    for line in text.splitlines():
        for item, start in PROC_LINES.items():
            if line.startswith(start + " "):
                soft, hard = [*line[len(start) :].split(None, 2), "", ""][:2]
                found[item] = Limit(_parse_number(soft), _parse_number(hard), source)
    return found


def show(value: int) -> int | str:
    """Returns a limit as people write it: `unlimited`, or the number."""
    return "unlimited" if value == UNLIMITED else value


def _parse_systemd_value(item: str, text: str) -> int:
    if text == "infinity" and item != "nice":
        return UNLIMITED
    if item == "memlock":
        number = _parse_size(text)
    elif item == "nice" and text[:1] in ("+", "-"):
        nice = _parse_unsigned(text[1:])
        # 20 is what nobody can have; -0 is 0.
        number = (
            None if nice is None or nice > (19 if text[0] == "+" else 20) else 20 + (nice if text[0] == "-" else -nice)
        )
    else:
        number = _parse_unsigned(text)
    if number is None or number >= UNLIMITED or (item == "nice" and number > 40):
        raise ValueError(f"{text[:40]!r} is not a limit for {item}")
    return number


def _parse_unsigned(text: str) -> int | None:
    """safe_atou64() of systemd: blanks before the number, a sign, and the bases of strtoull(3) and `0b` and `0o`.

    None for what it refuses.
    """
    match = _UNSIGNED.fullmatch(text.lstrip(_BLANKS))
    if not match:
        return None
    sign, prefix, digits = match.groups()
    base = _BASES.get(prefix.lower()) or (8 if digits[0] == "0" else 10)
    try:
        number = int(digits, base)
    except ValueError:
        return None
    return None if number > UNLIMITED or (sign == "-" and number) else number


def _parse_size(text: str) -> int | None:
    """parse_size() of systemd with the base 1024: `64M`, `1.5G`, `1G 512M` with ever smaller units.

    None for what it refuses.
    """
    total, at, next_unit = 0, 0, 0
    while True:
        match = _SIZE.match(text, at)
        if not match:
            return None
        sign, whole, fraction, rest = match.groups()
        if len(whole.lstrip("0")) > 20 or int(whole) > UNLIMITED:
            return None
        unit = next((n for n, name in enumerate(_UNITS) if n >= next_unit and rest.startswith(name)), None)
        if unit is None or sign == "-":
            return None
        share = 0.0
        if fraction:
            share = float(min(int(fraction[:25]), UNLIMITED))
            for _ in fraction:
                share /= 10
        factor = _FACTORS[unit]
        if int(whole) + (share > 0) > UNLIMITED // factor:
            return None
        total += int(whole) * factor + int(share * factor)
        if total > UNLIMITED:
            return None
        at, next_unit = match.start(4) + len(_UNITS[unit]), unit + 1
        if at == len(text):
            return total


def _parse_number(text: str) -> int:
    if text == "unlimited":
        return UNLIMITED
    if not _INTEGER.fullmatch(text):
        raise ValueError("a limit is not a number")
    return int(text)


def reduce_proc(text: str) -> str:
    """Returns the limits of /proc/PID/limits that a check asks for. Raises ValueError."""
    found = parse_proc(text)
    return "".join(
        f"{PROC_LINES[item]} {show(found[item].soft)} {show(found[item].hard)}\n" for item in ITEMS if item in found
    )
