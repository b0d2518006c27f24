"""Leases of CPUs: of a living process, once, whatever is in the file."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from hosttune import files
from hosttune.launch import lease, run_directory


@pytest.fixture
def run(tmp_path: Path) -> str:
    run_directory.prepare(str(tmp_path))
    return str(tmp_path)


def test_a_lease_excludes_says_who_and_ends_with_its_process(run: str) -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        own = lease.describe_own(["agent", "run"])
        started = lease.read_start_time(child.pid)
        assert started is not None
        other = msgspec.structs.replace(own, pid=child.pid, starttime=started)
        assert lease.read_holder(run, 3) is None
        lease.acquire(run, 3, other)
        assert lease.read_holder(run, 3) == other
        with pytest.raises(lease.Taken, match=rf"CPU 3 is leased to PID {child.pid} \(agent run\)"):
            lease.acquire(run, 3, own)
        lease.acquire(run, 2, own)
        lease.acquire(run, 2, own)
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert lease.read_holder(run, 3) is None, "the process has ended, also while nobody has asked how"
    child.wait()
    lease.acquire(run, 3, own)
    assert lease.read_holder(run, 3) == own


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"starttime": 1}, False),  # an earlier process of the same number
        ({"boot": "another"}, False),
        ({"namespace": 1}, True),  # its number says nothing here
    ],
)
def test_a_number_is_not_a_process(run: str, changes: dict[str, object], holds: bool) -> None:
    holder = msgspec.structs.replace(lease.describe_own(["x"]), **changes)
    lease.acquire(run, 3, holder)
    assert (lease.read_holder(run, 3) is not None) is holds


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": 1}', b"[" * 4000, b'{"pid": ' + b"9" * 3000])
def test_what_is_not_understood_is_not_free(run: str, text: bytes) -> None:
    Path(lease.build_path(run, 3)).write_bytes(text)
    Path(lease.build_path(run, 3)).chmod(0o600)
    with pytest.raises(ValueError, match=r"cpu3\.json"):
        lease.acquire(run, 3, lease.describe_own(["x"]))


def test_a_long_one_and_one_that_others_can_open_are_not_read(run: str) -> None:
    path = Path(lease.build_path(run, 3))
    for size, mode in ((3 << 30, 0o600), (10, 0o644)):
        path.touch()
        path.chmod(mode)
        os.truncate(path, size)
        with pytest.raises(files.UntrustedFile):
            lease.read_holder(run, 3)


def test_what_a_command_holds_is_short_and_printable() -> None:
    shown = str(lease.describe_own(["agent\x1b]0;x\x07", "\udcff" * 10_000]))
    assert shown.isprintable() and len(shown) < 300


def test_nobody_waits_long_for_a_launch_that_stands_still(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_PATIENCE", 0.05)
    with open(f"{run}/lease/guard", "w") as guard:
        os.chmod(guard.name, 0o600)
        fcntl.flock(guard, fcntl.LOCK_EX)
        with pytest.raises(lease.Taken, match="another launch"):
            lease.acquire(run, 3, lease.describe_own(["x"]))
