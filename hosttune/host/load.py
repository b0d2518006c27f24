"""Whether the machine was quiet while something was measured, and what is said about the machine."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import msgspec

from hosttune.host.sched import POLICY_NAMES

_TICKS = os.sysconf("SC_CLK_TCK")
#: Share of the machine's CPU time that others may use in a round that counts.
QUIET = 0.05


class Moment(msgspec.Struct, frozen=True):
    """CPU seconds of the whole machine, and of this process and all that come of it, whether they still run or not."""

    at: float
    used: float
    stolen: float
    own: float


def moment() -> Moment:
    """Returns the counts of now. Source: proc(5), /proc/stat, /proc/PID/stat and /proc/PID/task/TID/children;
    getrusage(2)."""
    fields = [int(n) / _TICKS for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    own = sum(read_cpu_time(pid, waited=True) or 0.0 for pid in _list_descendants("self"))
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        own += usage.ru_utime + usage.ru_stime
    return Moment(time.monotonic(), user + nice + system + irq + softirq, steal, own)


def _list_descendants(pid: str) -> list[str]:
    """Returns the processes that come of one and still run; none where this kernel does not tell
    (CONFIG_PROC_CHILDREN)."""
    found = []
    try:
        for task in Path("/proc", pid, "task").iterdir():
            for child in (task / "children").read_text().split():
                found += [child, *_list_descendants(child)]
    except OSError:  # it has ended meanwhile
        pass
    return found


def read_cpu_time(pid: int | str, *, waited: bool = False) -> float | None:
    """Returns the CPU seconds of a process, and if `waited` of the children that it has waited for as well; None: it is
    gone. Source: proc_pid_stat(5), utime to cstime."""
    if (text := _read(f"/proc/{pid}/stat")) is None:
        return None
    return sum(int(ticks) for ticks in text.rpartition(")")[2].split()[11 : 15 if waited else 13]) / _TICKS


def foreign(before: Moment, after: Moment, more: float = 0.0) -> float:
    """Returns the share of the machine's CPU time between two moments that others used, or a hypervisor took. more: CPU
    seconds of a process that is no child and yet not one of the others."""
    span = (after.at - before.at) * (os.cpu_count() or 1)
    used = (after.used - before.used) - (after.own - before.own) - more + (after.stolen - before.stolen)
    return max(0.0, used / span) if span > 0 else 0.0


def describe() -> dict[str, Any]:
    """Returns machine, kernel and real-time settings; null where something is not readable here."""
    model = None
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "host": platform.node(),
        "cpu": model,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "isolated_cpus": _read("/sys/devices/system/cpu/isolated"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "sched_rt_runtime_us": _read("/proc/sys/kernel/sched_rt_runtime_us"),
        "scheduler": "SCHED_" + POLICY_NAMES.get(os.sched_getscheduler(0), "unknown").upper(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
