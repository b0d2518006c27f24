"""Which process has written a file in shared memory."""

import os

import pytest

from agent.shm import identity
from hosttune.launch.identity import read_start_time


def test_the_start_time_is_what_hosttune_reads() -> None:
    """The agent's start does not wait for hosttune's reader, so there are two: they must agree."""
    for pid in (os.getpid(), os.getppid(), 1):
        assert identity.read_start_time(pid) == read_start_time(pid)
    assert identity.read_start_time(2**22 + 1) is None


def test_a_process_that_proc_does_not_show_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a start time of 0 another process would take this one for dead, and its place."""
    monkeypatch.setattr(identity, "read_start_time", lambda pid: None)
    with pytest.raises(OSError, match="does not show this process"):
        identity.own()
