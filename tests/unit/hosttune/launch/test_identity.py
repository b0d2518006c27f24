"""Which process it is, and whether it lives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hosttune.host.root import Fact, Live
from hosttune.launch import identity


def test_a_process_lives_until_it_ends_whether_or_not_anybody_asked_how() -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    assert identity.read_start_time(child.pid) == identity.read_start_time(child.pid) is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity.read_start_time(child.pid) is None
    child.wait()
    assert identity.read_start_time(child.pid) is None


def test_one_whose_first_thread_has_ended_lives() -> None:
    program = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print('x', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.read(1) == b"x"
        ended = threading.Event()
        while " Z " not in Path(f"/proc/{child.pid}/stat").read_text():
            assert child.poll() is None and not ended.wait(0.01)
        assert identity.read_start_time(child.pid) is not None
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("pid", [4194305, 1 << 40])
def test_numbers_that_no_process_has(pid: int) -> None:
    assert identity.read_start_time(pid) is None


def test_a_hidden_process_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Live, "read", lambda self, path: Fact("absent", None, path, "ENOENT"))
    for pid in (1, os.getpid()):
        with pytest.raises(OSError, match="hidden"):
            identity.read_start_time(pid)
