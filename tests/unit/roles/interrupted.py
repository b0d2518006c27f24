"""Runs of hosttune_settings that something happens to before one of their system calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.unit.roles.machine import Machine, files, records, run

READING = frozenset({"close", "look", "fstat", "getxattr", "listdir", "listxattr", "pread", "read", "readlink", "stat"})
CHANGING = frozenset(
    {"chown", "fchmod", "fchown", "fsync", "ftruncate", "mkdir", "open", "pwrite", "rename", "rmdir", "setxattr"}
    | {"symlink", "unlink", "write"}
)


class Calls:
    """The module os, with an action before each system call that counts; to open for reading is to `look`."""

    def __init__(self, before: Callable[[int, str, tuple[Any, ...]], object], counted: frozenset[str]) -> None:
        self.before = before
        self.counted = counted
        self.number = 0

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name not in READING | CHANGING:
            return function

        def called(*arguments: Any, **options: Any) -> Any:
            kind = "look" if name == "open" and not arguments[1] & os.O_ACCMODE else name
            if kind in self.counted:
                self.number += 1
                self.before(self.number, kind, arguments)
            return function(*arguments, **options)

        return called


@contextmanager
def watched(
    before: Callable[[int, str, tuple[Any, ...]], object], counted: frozenset[str] = CHANGING
) -> Iterator[Calls]:
    """Have the store make its system calls through Calls."""
    calls = Calls(before, counted)
    files.os = records.os = calls
    try:
        yield calls
    finally:
        files.os = records.os = os


def start(machine: Machine, at: int, number: int, counted: frozenset[str] = CHANGING, **options: Any) -> int:
    """Returns the process id of a run that sends itself signal `number` before its call number `at`."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            with watched(lambda call, *_: call == at and os.kill(os.getpid(), number), counted):
                run(machine, **options)
            status = 0
        finally:
            os._exit(status)
    return child


def run_killed(machine: Machine, at: int, counted: frozenset[str] = CHANGING, **options: Any) -> bool:
    """Run, and be killed before the call number `at`. Returns whether the run ended before."""
    _, status = os.waitpid(start(machine, at, signal.SIGKILL, counted, **options), 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True
