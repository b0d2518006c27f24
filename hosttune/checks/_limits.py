"""One resource limit of one user: what is wanted, and whether a limit is enough for it."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.checks import _sysctl
from hosttune.findings import Hop
from hosttune.host import limits, limits_lines, sysctl, sysctl_values, sysctl_writes

#: The most that RLIMIT_NOFILE may be, root's too (setrlimit(2)).
NR_OPEN = "fs.nr_open"


class Wanted(msgspec.Struct, frozen=True):
    """`need` is the least that suffices, as setrlimit(2) counts; `value` as the profile has it."""

    user: str
    item: str
    value: int | str
    need: int


def make_wanted(user: str, item: str, value: int | str) -> Wanted:
    """Returns what the profile asks for."""
    if value == "unlimited":
        return Wanted(user, item, value, limits_lines.UNLIMITED)
    return Wanted(user, item, value, 20 - int(value) if item == "nice" else int(value))


def judge_limit(wanted: Wanted, limit: limits.Limit) -> Hop:
    """A limit is enough if it allows at least what is wanted, soft (what a program starts with) and hard."""
    enough = limit.soft >= wanted.need and limit.hard >= wanted.need
    return Hop("ok" if enough else "bad", show_limit(wanted.item, limit), limit.source)


def show_limit(item: str, limit: limits.Limit) -> Any:
    """Returns a limit as people write it: one value, or the soft and the hard one."""

    def show_one(value: int) -> int | str:
        return 20 - value if item == "nice" and value != limits_lines.UNLIMITED else limits.show(value)

    same = limit.soft == limit.hard
    return show_one(limit.hard) if same else {"soft": show_one(limit.soft), "hard": show_one(limit.hard)}


def find_nr_open(facts: sysctl.Sysctls) -> tuple[int | None, int | None]:
    """Returns fs.nr_open now, None where it is not known, and from the next boot on, None where no file could tell.

    The next boot has what sysctl.d says, else what the kernel's arguments say, unless systemd raises it then, else
    what the kernel or systemd begins with: not what somebody wrote since.
    """
    running = facts.running[NR_OPEN]
    now = _read_number(running.value)
    written = facts.services.value is None or sysctl_writes.find(facts.services.value, NR_OPEN)
    if facts.boot.state == "unreadable" or written:
        return now, None
    for line in facts.find_written(NR_OPEN):
        number = _read_number(line.value)
        if number is not None and (line.line or now != limits.RAISED_NR_OPEN):
            return now, number
    if facts.arguments.state == "unreadable":
        return now, None
    return now, limits.choose_nr_open(now, None)


def doubt_files(wanted: Wanted, hop: Hop, nr_open: int | None) -> Hop:
    """Returns the hop on a limit, unknown where a limit on open files is enough and what bounds it is not known."""
    if wanted.item != "nofile" or hop.state != "ok" or nr_open is not None:
        return hop
    return Hop("unknown", f"{NR_OPEN} of the next boot bounds it, and could not be read", hop.source)


def _read_number(text: str | None) -> int | None:
    """Returns what the kernel reads of a text, None for what it refuses."""
    numbers = sysctl_values.read_numbers(text or "", 1)
    return numbers[0] if numbers and numbers[0] >= 0 else None


def raise_nr_open(wanted: Wanted, now: int | None, coming: int | None) -> list[str]:
    """Returns commands that let a process have so many open files, where it may not: now, and after the next boot."""
    if wanted.item != "nofile":
        return []
    steps = [f"sysctl -w {NR_OPEN}={wanted.need}"] if now is not None and now < wanted.need else []
    if coming is not None and coming < wanted.need:
        steps.append(_sysctl.append_line(NR_OPEN, wanted.need))
    return steps
