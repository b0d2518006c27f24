"""What the tests of a launch share: a check that answers as it is told, and the reading-back."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLEEP = "/usr/bin/sleep"
BOUND = 30.0  # seconds that anything here may take on a loaded machine
CPU = max(os.sched_getaffinity(0))
# Locked memory that `sleep` fits in and that any process here may have.
MEMLOCK = "memlock=8M"
#: Launched as the user nobody.
AS_NOBODY = ("--user", "nobody", "--rlimit", MEMLOCK)

PROBE = """\
import time
import msgspec
from hosttune.findings import Finding

class Section(msgspec.Struct, frozen=True):
    status: str
    seconds: float = 0.0

def facts(root, wanted):
    time.sleep(wanted.seconds)

def check(wanted, facts, observed):
    return [Finding(id="probe.knob", status=wanted.status, wanted=1, found=0, why="because", fix="turn it")]
"""

#: Returns the command `hosttune launch` with these options, and its environment; see the fixture `launcher`.
Launcher = Callable[..., "tuple[list[str], dict[str, str]]"]
#: Starts `hosttune launch` with these options; see the fixture `launch`.
Launch = Callable[..., "subprocess.Popen[str]"]


def read_back(tmp_path: Path, pid: int, *words: str, prefix: tuple[str, ...] = ()) -> tuple[int, Any]:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "hosttune", "attest", str(pid), "--run-dir", str(tmp_path / "run"),
         "--format", "json", *words],
        capture_output=True, text=True, timeout=2 * BOUND, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def statuses(document: Any) -> dict[str, str]:
    return {one["id"].removeprefix("attest."): one["status"] for one in document["findings"]}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """Returns the lines that a program prints before `last`."""
    assert process.stdout is not None
    said = b""
    while f"{last}\n".encode() not in said:
        assert select.select([process.stdout], [], [], BOUND)[0], f"no line {last!r} after {said!r}"
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, (said, process.communicate(timeout=BOUND))
        said += piece
    return said.decode().partition(f"{last}\n")[0].splitlines()
