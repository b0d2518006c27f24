"""Wait for the moment at which a launched program can be read back: its record is there, and its exec is done."""

from __future__ import annotations

import os
import select
import time

from hosttune.attest.compare import check_exec, compare
from hosttune.attest.read import Gone, read_process
from hosttune.attest.show import Attestation
from hosttune.findings import summarise_findings
from hosttune.host.root import Live
from hosttune.launch import record as records
from hosttune.launch.record import Record

_POLL = 0.01


class NotLaunched(Exception):
    """There is no usable launch record of this process."""


def attest(run_directory: str, pid: int, wait: float, after: float = 0.0) -> Attestation:
    """Wait until the program runs (at most `wait` seconds), then `after` seconds more, read and compare.

    Raises :class:`Gone` if the process ends before it has been read, :class:`NotLaunched` if no record of
    it appears in time or the record cannot be read.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Gone(f"there is no process {pid}") from None
    deadline = time.monotonic() + wait
    try:
        promised = _await_record(run_directory, pid, handle, deadline)
        runs = _await_exec(run_directory, pid, handle, deadline)
        if after:
            _sleep(handle, pid, after)
        process = read_process(Live(), pid)
        # The PID could have been reused while /proc was read; the descriptor cannot.
        _sleep(handle, pid, 0)
    finally:
        os.close(handle)
    findings = [check_exec(promised, runs, wait), *compare(promised, process)]
    host = {"hostname": os.uname().nodename, "kernel": os.uname().release, "pid": pid}
    return Attestation(
        record=promised,
        executable=process.executable.value,
        threads=process.threads,
        memory=process.memory.value,
        report=summarise_findings(host, findings),
    )


def _await_record(run_directory: str, pid: int, handle: int, deadline: float) -> Record:
    while True:
        try:
            promised = records.load(run_directory, pid)
        except (OSError, ValueError) as error:
            raise NotLaunched(f"the launch record cannot be read: {error}") from error
        if promised is not None:
            return promised
        if time.monotonic() >= deadline:
            raise NotLaunched(f"process {pid} has no launch record in {run_directory}/launch")
        _sleep(handle, pid, _POLL)


def _await_exec(run_directory: str, pid: int, handle: int, deadline: float) -> bool:
    while not records.is_released(run_directory, pid):
        if time.monotonic() >= deadline:
            return False
        _sleep(handle, pid, _POLL)
    return True


def _sleep(handle: int, pid: int, seconds: float) -> None:
    """Sleep, but notice the end of the process: its pidfd becomes readable."""
    if select.select([handle], [], [], seconds)[0]:
        raise Gone(f"process {pid} ended before it could be read back")
