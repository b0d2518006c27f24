"""Keep the promises of a plan in this process, and become the program.

The order matters: everything that needs privilege comes before the change of user, and the record before
both. Each step names itself, so that a refusal of the kernel says what was being done.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from hosttune.host import cpulist
from hosttune.host.process import parse_capabilities
from hosttune.host.sched import POLICY_NUMBERS
from hosttune.launch import DMA_LATENCY, lease, record
from hosttune.launch.account import change_user, find_user_name
from hosttune.launch.checks import choose_memory_limit
from hosttune.launch.facts import LIBRARY, Facts
from hosttune.launch.plan import RLIMITS, Plan
from hosttune.launch.record import Record

TIMER_SLACK_NS = 1
_READY = "HOSTTUNE_READY_FD"


class LaunchError(Exception):
    """A step was refused; nothing was started. The text names the step and the kernel's answer."""


def launch(plan: Plan, facts: Facts, forced: list[str], preflight: dict[str, Any]) -> NoReturn:
    """Prepare this process and execute the command; returns only by raising :class:`LaunchError`."""
    assert facts.path is not None
    pid = os.getpid()
    leases = []
    for cpu in sorted(plan.cpus or ()):
        with _name_step(f"lease CPU {cpu}"):
            lease.acquire(plan.run_directory, cpu, pid, plan.command)
            leases.append(lease.build_path(plan.run_directory, cpu))
    holds_latency = _hold_dma_latency()
    limits = {**plan.default_rlimits, **plan.rlimits}
    memory = choose_memory_limit(plan, facts)
    if memory is not None:
        limits["memlock"] = memory
    for name, limit in limits.items():
        with _name_step(f"set RLIMIT_{name.upper()} to {limit[0]}:{limit[1]}"):
            resource.setrlimit(RLIMITS[name], limit)
    _place_process(plan)
    started = record.read_start_time(pid)
    assert started is not None
    user = plan.user
    with _name_step("write the launch record"):
        locked_record = record.write(
            plan.run_directory,
            Record(
                pid=pid,
                starttime=started,
                command=plan.command,
                policy=plan.policy,
                priority=plan.priority,
                nice=plan.nice,
                cpus=cpulist.show(frozenset(os.sched_getaffinity(0))),
                user=user.name if user else find_user_name(os.geteuid()),
                uid=user.uid if user else os.geteuid(),
                gid=user.gid if user else os.getegid(),
                groups=sorted(set(user.groups if user else os.getgroups())),
                memory_locked=plan.lock_memory,
                cpu_dma_latency=holds_latency,
                timer_slack_ns=TIMER_SLACK_NS,
                leases=leases,
                rlimits=limits,
                forced=forced,
                preflight=preflight,
            ),
        )
    os.set_inheritable(locked_record, plan.lock_memory)
    environment = build_environment(os.environ, plan, locked_record)
    if user is not None:
        with _name_step(f"become {user.name}"):
            change_user(user)
            _require_no_capabilities(user.uid)
    # What Python ignores must not stay ignored in the program: execve keeps ignored signals ignored.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with _name_step(f"execute {facts.path}"):
        os.execve(facts.path, plan.command, environment)


def build_environment(base: Mapping[str, str], plan: Plan, ready: int) -> dict[str, str]:
    """Returns the program's environment: the target user's, and what the preload library needs."""
    environment = dict(base)
    environment.pop(_READY, None)
    if plan.user is not None:
        environment |= {"HOME": plan.user.home, "USER": plan.user.name, "LOGNAME": plan.user.name}
    if plan.lock_memory:
        others = environment.get("LD_PRELOAD")
        environment |= {"LD_PRELOAD": f"{LIBRARY}:{others}" if others else LIBRARY, _READY: str(ready)}
    return environment


@contextlib.contextmanager
def _name_step(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, lease.Taken) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LaunchError(f"cannot {what}: {reason}") from error


def _hold_dma_latency() -> bool:
    """Ask for 0 µs of wake-up latency for as long as the descriptor lives (pm_qos_interface.rst)."""
    try:
        descriptor = os.open(DMA_LATENCY, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # said by launch.cpu_dma_latency
    os.write(descriptor, struct.pack("=i", 0))
    os.set_inheritable(descriptor, True)
    return True


def _place_process(plan: Plan) -> None:
    """Set CPUs, timer slack, nice and the scheduling policy (SCHED_FIFO, SCHED_RR) of this process."""
    if plan.cpus is not None:
        with _name_step(f"run on CPU {cpulist.show(plan.cpus)}"):
            os.sched_setaffinity(0, plan.cpus)
    # proc_pid_timerslack_ns(5): what prctl(PR_SET_TIMERSLACK) sets
    with _name_step("set the timer slack"), open("/proc/self/timerslack_ns", "w", encoding="ascii") as slack:
        slack.write(str(TIMER_SLACK_NS))
    with _name_step(f"set nice {plan.nice}"):
        os.setpriority(os.PRIO_PROCESS, 0, plan.nice)
    with _name_step(f"set policy {plan.policy} with priority {plan.priority}"):
        os.sched_setscheduler(0, POLICY_NUMBERS[plan.policy], os.sched_param(plan.priority))


def _require_no_capabilities(uid: int) -> None:
    """A process with SECBIT_NO_SETUID_FIXUP keeps its capabilities across setresuid; refuse to run on."""
    if uid == 0:
        return
    with open("/proc/self/status", encoding="utf-8") as status:
        kept = [name for name, mask in parse_capabilities(status.read()).items() if mask]
    if kept:
        raise ValueError(f"capabilities were kept ({', '.join(kept)}); securebits are set on this process")
