"""Wait for the moment at which a launched program can be read back: its record is there, and its exec is done."""

from __future__ import annotations

import os
import select
import time

from hosttune.attest.compare import check_exec, compare
from hosttune.attest.read import Gone, has_descriptor, read_process
from hosttune.attest.show import Attestation
from hosttune.findings import Host, summarise_findings
from hosttune.host.root import Fact, Live, make_unreadable
from hosttune.launch import lease, run_directory
from hosttune.launch import record as records
from hosttune.launch.lease import Holder
from hosttune.launch.record import Record

_POLL = 0.01


class _Host(Host):
    """`pid` of the process that is attested."""

    pid: int


class NotLaunched(Exception):
    """There is no usable launch record of this process."""


def attest(directory: str, pid: int, wait: float, after: float = 0.0) -> Attestation:
    """Wait until the program runs (at most `wait` seconds), then `after` seconds more, read and compare.

    directory: the run directory. Raises :class:`Gone` if the process ends before it has been read, :class:`NotLaunched`
    if no record of it appears in time, or the record cannot be read or believed.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Gone(f"there is no process {pid}") from None
    deadline = time.monotonic() + wait
    try:
        promised = _await_record(directory, pid, handle, deadline)
        runs = _await_exec(promised, handle, deadline)
        if after:
            _sleep(handle, pid, after)
        process = read_process(Live(), promised)
        holders = {cpu: _read_holder(directory, cpu) for cpu in promised.leases}
        # The PID could have been reused while /proc was read; the descriptor cannot.
        _sleep(handle, pid, 0)
    finally:
        os.close(handle)
    findings = [check_exec(promised, runs, wait), *compare(promised, process, holders, directory)]
    host: _Host = {"hostname": os.uname().nodename, "kernel": os.uname().release, "pid": pid}
    return Attestation(
        record=promised,
        executable=process.executable.value,
        threads=process.threads.value or [],
        memory=process.memory.value,
        report=summarise_findings(host, findings),
    )


def _await_record(directory: str, pid: int, handle: int, deadline: float) -> Record:
    while True:
        try:
            if os.path.lexists(directory):
                run_directory.check(directory)
            promised = records.load(directory, pid)
        except FileNotFoundError:
            promised = None
        except (OSError, ValueError) as error:
            raise NotLaunched(f"the launch record cannot be believed: {_explain(error)}") from error
        if promised is not None:
            return promised
        if time.monotonic() >= deadline:
            raise NotLaunched(f"process {pid} has no launch record in {directory}/{run_directory.RECORDS}")
        _sleep(handle, pid, _POLL)


def _await_exec(promised: Record, handle: int, deadline: float) -> Fact[bool]:
    source = f"/proc/{promised.pid}/fd/{promised.ready.number}"
    try:
        while has_descriptor(promised.pid, promised.ready):
            if time.monotonic() >= deadline:
                return Fact("value", False, source)
            _sleep(handle, promised.pid, _POLL)
    except OSError as error:
        return make_unreadable(source, _explain(error))
    return Fact("value", True, source)


def _read_holder(directory: str, cpu: int) -> Fact[Holder | None]:
    source = lease.build_path(directory, cpu)
    try:
        return Fact("value", lease.read_holder(directory, cpu), source)
    except (OSError, ValueError) as error:
        return make_unreadable(source, _explain(error))


def _explain(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _sleep(handle: int, pid: int, seconds: float) -> None:
    """Sleep, but notice the end of the process: its pidfd becomes readable."""
    if select.select([handle], [], [], seconds)[0]:
        raise Gone(f"process {pid} ended before it could be read back")
