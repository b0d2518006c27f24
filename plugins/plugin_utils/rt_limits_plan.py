# SPDX-License-Identifier: Apache-2.0
"""What the role rt_limits is asked for, checked, and the limits that it comes to.

Sources: limits.conf(5); getrlimit(2); systemd-system.conf(5).
"""

from __future__ import annotations

from typing import Any

from . import cpu_lists, inputs
from .host_facts import Host

_LIMITS = {
    "memlock": inputs.make_number(0, 1 << 62),
    "nice": inputs.make_number(-20, 19),
    "nofile": inputs.make_number(1, 1 << 30),
    "rtprio": inputs.make_number(0, 99),
}
SHARE = "/proc/sys/kernel/sched_rt_runtime_us"
_SHARE = inputs.make_number(-1, 1_000_000_000)


def list_reads(asked: dict[str, Any], image: bool) -> list[str]:
    """Returns the file of the real-time share."""
    return [] if image or not asked["refuse"] else [SHARE]


def plan(users: Any, sched_rt_runtime_us: Any, refuse: bool = True, host: Host | None = None) -> dict[str, Any]:
    """Returns `users`, name to limits, `services`, the most that any of the users gets, and `share`, the real-time
    share, None to leave it alone.

    systemd has one default for all services. memlock is in bytes or `unlimited`; of services `infinity`. Raises
    ValueError with one line per problem; without `refuse`, for a revert, what is wrong is left out.
    """
    problems: list[str] = []
    checked: dict[str, dict[str, int | str]] = {}
    for user, limits in (users if isinstance(users, dict) else {}).items():
        if not inputs.USER.holds(user):
            problems.append(f"rt_limits_users: {cpu_lists.show(user)}: allowed: {inputs.USER.allowed}")
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
    elif share is not None and host is not None and host.lacks(SHARE):
        reason = "rt_limits_sched_rt_runtime_us: the host's kernel has no such key"
        host.refuse_or_leave_out(problems, reason, "rt_limits_sched_rt_runtime_us", share)
        share = None
    if refuse:
        cpu_lists.refuse(problems)
    return {"users": checked, "services": _find_most(checked), "share": share}


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
