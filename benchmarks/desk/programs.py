"""Programs that the desk's benchmarks start."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.agent import drive
from benchmarks.agent.sample import BenchError


def find_server() -> tuple[str, dict[str, str]]:
    """Returns redis-server, of this machine or as tools/setup has unpacked it, and its environment. Raises
    BenchError."""
    if path := shutil.which("redis-server"):
        return path, dict(os.environ)
    for unpacked in Path(sys.prefix).glob("*/usr/bin/redis-server"):
        libraries = ":".join(map(str, (unpacked.parents[1] / "lib").glob("*-linux-gnu*")))
        return str(unpacked), {**os.environ, "LD_LIBRARY_PATH": libraries}
    raise BenchError("redis-server is not here: apt-get install redis-server")


def wait(done: Callable[[], Any], what: str) -> None:
    """Wait until it is so. Raises BenchError with what went wrong."""
    end = time.monotonic() + drive.STARTS
    while not done():
        if time.monotonic() > end:
            raise BenchError(what)
        time.sleep(0.01)
