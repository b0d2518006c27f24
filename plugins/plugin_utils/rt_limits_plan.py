# SPDX-License-Identifier: Apache-2.0
"""What the role rt_limits is asked for, checked, and the limits that it comes to.

Sources: limits.conf(5); getrlimit(2); systemd-system.conf(5).
"""

from __future__ import annotations

import re
from typing import Any

from hosttune.host import cpulist, fair_server_files, limits_lines
from hosttune.host.limits import choose_nr_open

from . import cpu_lists, inputs, later_files
from .host_facts import POSSIBLE, RELEASE, Host

_LIMITS = {
    "memlock": inputs.make_number(0, 1 << 62),
    "nice": inputs.make_number(-20, 19),
    "nofile": inputs.make_number(1, 1 << 30),
    "rtprio": inputs.make_number(0, 99),
}
SHARE = "/proc/sys/kernel/sched_rt_runtime_us"
_PERIOD = "/proc/sys/kernel/sched_rt_period_us"
_SHARE = inputs.make_number(-1, 1_000_000_000)
#: The most open files that the host's kernel gives any process.
NR_OPEN = "/proc/sys/fs/nr_open"


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the files of the real-time share, the bound of open files, the CPUs, and the fair server."""
    if image or not asked["refuse"]:
        return []
    try:
        cpus = cpu_lists.read("", asked["fair_server_off"], empty=True)
    except ValueError:
        cpus = ()
    late = later_files.list_reads("sysctl", "systemd", "limits")
    return [*late, SHARE, _PERIOD, NR_OPEN, RELEASE, POSSIBLE, *map(fair_server_files.build_path, cpus)]


def plan(
    users: Any, sched_rt_runtime_us: Any, fair_server_off: Any = "", refuse: bool = True, host: Host | None = None
) -> dict[str, Any]:
    """Returns `users`, name to limits, `services`, systemd's defaults by key (the most that any of the users gets),
    `share`, the real-time share, None to leave it alone, `fair_server_off`, the CPUs without the fair server, and
    `values`, path to what is set now.

    systemd has one default for all services. memlock is in bytes or `unlimited`; of services `infinity`. Raises
    ValueError with one line per problem; without `refuse`, for a revert, what is wrong is left out.
    """
    host = host or Host()
    problems: list[str] = []
    checked: dict[str, dict[str, int | str]] = {}
    for user, limits in (users if isinstance(users, dict) else {}).items():
        if not inputs.UNPRIVILEGED.holds(user):  # what runs as root has its limits from where it was started
            problems.append(f"rt_limits_users: {cpu_lists.show(user)}: allowed: {inputs.UNPRIVILEGED.allowed}")
        elif (read := _read_limits(limits)) is None:
            problems.append(
                f"rt_limits_users: {user}: {cpu_lists.show(limits)}: allowed are memlock (bytes in whole KiB, or "
                "unlimited), rtprio (0 to 99), nice (-20 to 19) and nofile (a number)"
            )
        else:
            checked[user] = read
    if not isinstance(users, dict):
        problems.append(f"rt_limits_users is {cpu_lists.show(users)}: allowed: users with their limits")
    share = sched_rt_runtime_us
    if share is not None and not (_SHARE.holds(share) and isinstance(share, int)):
        problems.append(
            f"rt_limits_sched_rt_runtime_us is {cpu_lists.show(share)}: allowed are -1, microseconds, or null"
        )
    elif share is not None and host.lacks(SHARE):
        reason = "rt_limits_sched_rt_runtime_us: the host's kernel has no such key"
        host.refuse_or_leave_out(problems, reason, "rt_limits_sched_rt_runtime_us", share)
        share = None
    elif share is not None and (period := inputs.read_number(host.read(_PERIOD))) is not None and share > period:
        problems.append(
            f"rt_limits_sched_rt_runtime_us is {share}: the host's kernel refuses more than kernel.sched_rt_period_us, "
            f"which is {period}"
        )
    cpus: list[int] = []
    try:
        cpus = sorted(set(cpu_lists.read("rt_limits_fair_server_off", fair_server_off, empty=True)))
    except ValueError as error:
        problems.append(str(error))
    if possible := host.read(POSSIBLE):
        # The kernel has a file of each CPU that may come.
        there = cpulist.parse(cpulist.KernelList(possible))
        problems += cpu_lists.missing("rt_limits_fair_server_off", fair_server_off, tuple(cpus), there)
    nr_open = inputs.read_number(host.read(NR_OPEN))
    coming = None if nr_open is None else choose_nr_open(nr_open, later_files.find_number(host, "fs.nr_open"))
    problems += _find_refused(checked, nr_open, coming)
    problems += _find_overruled(host, checked, share, coming)
    if refuse:
        cpu_lists.refuse(problems)
    values = {} if share is None else {SHARE: share}
    paths = list(map(fair_server_files.build_path, cpus))
    values |= {path: 0 for path in paths if host.read(path) is not None}
    if any(map(host.lacks, paths)) and _has_fair_server(host.read(RELEASE) or ""):
        host.left_out.append(
            f"rt_limits_fair_server_off: {fair_server_files.DIRECTORY} cannot be seen now (debugfs, kernel lockdown): "
            "it is set at boot, if it can be seen then"
        )
    return {
        "users": checked,
        "services": _write_defaults(_find_most(checked)),
        "share": share,
        "fair_server_off": cpus,
        "values": values,
    }


def _find_overruled(
    host: Host, users: dict[str, dict[str, int | str]], share: int | None, nr_open: int | None
) -> list[str]:
    """Returns a line for each setting of the role that the file of somebody else takes back; nr_open: of the next
    boot, None where it is not known."""
    of_logins = {
        (user, item): str(value // 1024 if item == "memlock" and isinstance(value, int) else value)
        for user, limits in users.items()
        for item, value in limits.items()
    }
    return [
        *later_files.find_limits(host, "/etc/security/limits.d/99-hosttune-rt_limits.conf", of_logins, nr_open),
        *later_files.find_systemd(
            host, "/etc/systemd/system.conf.d/hosttune-rt_limits.conf", _write_defaults(_find_most(users))
        ),
        *later_files.find_sysctl(
            host,
            "/etc/sysctl.d/99-zz-hosttune-rt_limits.conf",
            {} if share is None else {"kernel.sched_rt_runtime_us": share},
        ),
    ]


def _write_defaults(services: dict[str, int | str]) -> dict[str, str]:
    """Returns the lines of [Manager]."""
    return {
        f"Default{limits_lines.ITEMS[item]}": limits_lines.write_systemd(item, value)
        for item, value in services.items()
    }


def _has_fair_server(release: str) -> bool:
    """Returns whether a kernel of this release has one: on an older one there is nothing to say."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return match is not None and (int(match[1]), int(match[2])) >= fair_server_files.SINCE


def _find_refused(users: dict[str, dict[str, int | str]], now: int | None, coming: int | None) -> list[str]:
    """Returns a line for each user whose open files the kernel refuses, now or from the next boot on: then a login gets
    none of the pair."""
    problems = []
    for user, asked in users.items():
        number = int(asked.get("nofile", 0))
        for nr_open, when in ((now, "is"), (coming, "will be, after the next boot,")):
            if nr_open is not None and number > nr_open:
                problems.append(
                    f"rt_limits_users: {user}: nofile is {number}: the host's fs.nr_open {when} {nr_open}, and no "
                    "process may have more: ask for less, or raise it first, in sysctl.d too"
                )
                break
    return problems


def _read_limits(limits: Any) -> dict[str, int | str] | None:
    if not isinstance(limits, dict) or set(limits) - set(_LIMITS):
        return None
    read: dict[str, int | str] = {}
    for item, value in limits.items():
        number = inputs.read_number(value)
        if item == "memlock" and value == "unlimited":
            read[item] = "unlimited"
        elif number is None or not _LIMITS[item].holds(value) or (item == "memlock" and number % 1024):
            return None
        else:
            read[item] = number
    return read


def _find_most(users: dict[str, dict[str, int | str]]) -> dict[str, int | str]:
    most: dict[str, int | str] = {}
    for item in _LIMITS:
        values = [limits[item] for limits in users.values() if item in limits]
        numbers = [value for value in values if isinstance(value, int)]
        if len(numbers) < len(values):
            most[item] = "infinity"
        elif numbers:
            most[item] = min(numbers) if item == "nice" else max(numbers)
    return most
