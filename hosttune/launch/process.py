"""Keep the promises of a plan in this process, and become the program.

The order matters: everything that needs privilege comes before the change of user, and the record before
both. Each step names itself, so that a refusal of the kernel says what was being done.
"""

from __future__ import annotations

import contextlib
import os
import resource
import struct
from collections.abc import Iterator
from typing import NoReturn

from hosttune import files
from hosttune.host import cpulist
from hosttune.host.sched import POLICY_NUMBERS
from hosttune.launch import DMA_LATENCY, confine, lease, record, run_directory, session
from hosttune.launch.account import find_own_user
from hosttune.launch.checks import choose_memory_limit
from hosttune.launch.environment import build_environment
from hosttune.launch.facts import LIBRARY, Facts
from hosttune.launch.plan import RLIMITS, Plan
from hosttune.launch.record import Descriptor, Preflight, Record
from hosttune.output import escape, print_message

TIMER_SLACK_NS = 1


class LaunchError(Exception):
    """A step was refused; nothing was started. The text names the step and the kernel's answer."""


def launch(plan: Plan, facts: Facts, forced: list[str], preflight: Preflight, launcher: int | None = None) -> NoReturn:
    """Prepare this process and execute the command; returns only by raising :class:`LaunchError`.

    launcher: the process that stays with the program, if there is one.
    """
    assert facts.path is not None
    with _name_step("use the run directory"):
        run_directory.prepare(plan.run_directory)
    holder = lease.describe_own(plan.command)
    for cpu in sorted(plan.cpus or ()):
        with _name_step(f"lease CPU {cpu}"):
            lease.acquire(plan.run_directory, cpu, holder)
    latency = _hold_dma_latency()
    limits = {**plan.default_rlimits, **plan.rlimits}
    memory = choose_memory_limit(plan, facts)
    if memory is not None:
        limits["memlock"] = memory
    _place_process(plan)
    user = plan.user or find_own_user()
    ready = _open_ready()
    with _name_step("write the launch record"):
        record.write(
            plan.run_directory,
            Record(
                pid=holder.pid,
                starttime=holder.starttime,
                command=[escape(word) for word in plan.command],
                policy=plan.policy,
                priority=plan.priority,
                nice=plan.nice,
                cpus=cpulist.show(frozenset(os.sched_getaffinity(0))),
                user=user.name,
                uid=user.uid,
                gid=user.gid,
                groups=user.groups,
                changes_user=plan.changes_user,
                capabilities=confine.promise_capabilities(plan.user),
                umask=plan.umask,
                memory_locked=plan.lock_memory,
                cpu_dma_latency=None if latency is None else _describe(latency),
                timer_slack_ns=TIMER_SLACK_NS,
                leases=sorted(plan.cpus or ()),
                rlimits=limits,
                forced=forced,
                preflight=preflight,
                ready=_describe(ready),
            ),
        )
    environment = build_environment(user, plan.variables, LIBRARY if plan.lock_memory else None, ready)
    with _name_step("close descriptors"):
        confine.close_descriptors([number for number in (latency, ready) if number is not None])
        os.set_inheritable(ready, plan.lock_memory)
    # After all files of ours: the limits of the program may not allow them.
    for name, limit in limits.items():
        with _name_step(f"set RLIMIT_{name.upper()} to {limit[0]}:{limit[1]}"):
            resource.setrlimit(RLIMITS[name], limit)
    _confine(plan, launcher)
    with _name_step(f"execute {facts.path}"):
        os.execve(facts.path, plan.command, environment)


@contextlib.contextmanager
def _name_step(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, lease.Taken) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        raise LaunchError(f"cannot {what}: {reason}{where}") from error


def _hold_dma_latency() -> int | None:
    """Ask for 0 µs of wake-up latency for as long as the descriptor lives (pm_qos_interface.rst); a descriptor that can
    only be read takes no request. Returns it, or None."""
    try:
        descriptor = os.open(DMA_LATENCY, os.O_WRONLY | files.SAFE)
    except OSError:
        return None  # said by launch.cpu_dma_latency
    with _name_step(f"ask for no wake-up latency ({DMA_LATENCY})"):
        os.write(descriptor, struct.pack("=i", 0))
    return descriptor


def _open_ready() -> int:
    """Returns a descriptor whose end says that the program runs; there is nothing to be read from it."""
    ready, writer = os.pipe()
    os.close(writer)
    return ready


def _describe(descriptor: int) -> Descriptor:
    found = os.fstat(descriptor)
    return Descriptor(descriptor, found.st_dev, found.st_ino)


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


def _confine(plan: Plan, launcher: int | None) -> None:
    """Leave to the program nothing of the caller's but what the plan names."""
    changes_user = plan.changes_user  # asked before the change
    os.umask(plan.umask)
    with _name_step(f"become {plan.user.name}" if plan.user else "leave capabilities"):
        confine.leave_privileges(plan.user)
    if changes_user:
        with _name_step("leave the session keyring"):
            confine.leave_keys()
        with _name_step("leave the working directory"):
            why = confine.leave_directory()
        if why:
            print_message(
                f"hosttune launch: note: the program starts in /, its user cannot enter this directory: {why}"
            )
    if launcher is not None:
        with _name_step("follow the launcher"):
            session.follow_launcher(launcher)
    confine.reset_signals()
