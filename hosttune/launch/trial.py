"""What only a trial tells: forks that become the user or take the placement, and directories that are made.

A trial leaves nothing behind but the run directory, which the launch needs anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable

import msgspec

from hosttune.host.sched import POLICY_NUMBERS
from hosttune.launch.plan import Plan, User
from hosttune.launch.run_directory import LEASES, RECORDS, prepare


class Trial(msgspec.Struct, frozen=True):
    """What the kernel said when the placement was tried on a sleeping child.

    `cpus` are those that the child was left with; the errnos are 0 for success.
    """

    affinity_errno: int
    cpus: frozenset[int]
    policy_errno: int


def try_call(call: Callable[[], object]) -> str:
    """Returns `ok`, or the name of the errno that the call failed with."""
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def require_executable(path: str) -> None:
    """Raises PermissionError unless this process may execute the file (access(2))."""
    if not os.access(path, os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, path)


def require_readable(path: str) -> None:
    """Raises OSError unless this process may read the file."""
    with open(path, "rb"):
        pass


def try_as_user(plan: Plan, call: Callable[[], object]) -> str:
    """Returns the answer that the target user would get, or this process's own where it cannot become that user.

    A child has the user as its effective one only: the user could stop or end one that were its own (kill(2)).
    """
    user = plan.user
    if user is None or user.uid == os.geteuid() or os.geteuid() != 0:
        return try_call(call)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = try_call(lambda: _borrow_user(user))
            os.write(writer, (try_call(call) if answer == "ok" else "ok").encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def _borrow_user(user: User) -> None:
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)


def try_placement(plan: Plan, cpus: frozenset[int]) -> Trial:
    """Place a sleeping child as planned, and read back.

    It never runs there: a CPU whose owner polls at real-time priority would never let it finish.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    before = os.sched_getaffinity(child)
    try:
        affinity = _catch_errno(lambda: os.sched_setaffinity(child, cpus))
        left = frozenset(os.sched_getaffinity(child))
        policy = _catch_errno(
            lambda: os.sched_setscheduler(child, POLICY_NUMBERS[plan.policy], os.sched_param(plan.priority))
        )
        return Trial(affinity, left, policy)
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(child, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(child, before)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(writer)


def _catch_errno(call: Callable[[], object]) -> int:
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


def try_run_directory(directory: str) -> str:
    """Returns `ok` if leases and records can be made, or why not: tried by making the directories."""
    try:
        prepare(directory)
        for name in (RECORDS, LEASES):
            if not os.access(f"{directory}/{name}", os.W_OK, effective_ids=True):
                return f"{directory}/{name}: {os.strerror(errno.EACCES)}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return "ok"
