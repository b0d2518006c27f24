"""The scheduler's fair server: the CPU time that ordinary tasks are promised beside real-time ones.

From Linux 6.12 on it replaces real-time throttling: where an ordinary task waits, it may run for `runtime`
in every `period`, whatever kernel.sched_rt_runtime_us says. Source: `Documentation/scheduler/sched-debug.rst`
and `kernel/sched/debug.c` of the Linux kernel.
"""

from __future__ import annotations

import re

import msgspec

from hosttune.host import cpu, identity
from hosttune.host.fair_server_files import DIRECTORY as DIRECTORY
from hosttune.host.fair_server_files import SINCE as SINCE
from hosttune.host.fair_server_files import build_path
from hosttune.host.root import Fact, Root


class FairServer(msgspec.Struct, frozen=True):
    """`kernel` is the release as (major, minor). `runtimes` are nanoseconds per period by CPU, read for
    the isolated CPUs, or for all if none is isolated. `lockdown` is the kernel's mode, if it says."""

    kernel: Fact[tuple[int, int]]
    runtimes: dict[int, Fact[int]]
    lockdown: Fact[str]


def read(root: Root) -> FairServer:
    """Read what the kernel shows; nothing but its release if that is older than 6.12."""
    kernel = identity.read_release(root)
    if kernel.value is not None and kernel.value < SINCE:
        return FairServer(kernel, {}, Fact("absent"))
    cpus = cpu.read_list(root, f"{cpu.DIRECTORY}/isolated").value or cpu.read_possible(root).value
    return FairServer(
        kernel, read_runtimes(root, cpus or frozenset()), root.read("/sys/kernel/security/lockdown").map(_parse_chosen)
    )


def read_runtimes(root: Root, cpus: frozenset[int]) -> dict[int, Fact[int]]:
    """Read the nanoseconds per period of each of these CPUs, 0 for off; absent before 6.12 and without debugfs."""
    return {number: root.read(build_path(number)).map(int) for number in sorted(cpus)}


def _parse_chosen(text: str) -> str:
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else text.strip()
