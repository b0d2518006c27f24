"""Programs that the desk's benchmarks start."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.agent import drive
from benchmarks.agent.sample import BenchError


class Program(NamedTuple):
    """path: of the executable; environment: that finds its libraries."""

    path: str
    environment: dict[str, str]


def search_program(name: str) -> Program | None:
    """Returns the program of this name, of this machine or as tools/setup has unpacked it; None: there is none."""
    if path := shutil.which(name):
        return Program(path, dict(os.environ))
    for unpacked in Path(sys.prefix).glob(f"*/usr/bin/{name}"):
        libraries = ":".join(map(str, (unpacked.parents[1] / "lib").glob("*-linux-gnu*")))
        return Program(str(unpacked), {**os.environ, "LD_LIBRARY_PATH": libraries})
    return None


def find_server() -> Program:
    """Returns redis-server. Raises BenchError."""
    if (found := search_program("redis-server")) is None:
        raise BenchError("redis-server is not here: apt-get install redis-server")
    return found


def wait(done: Callable[[], Any], what: str) -> None:
    """Wait until it is so. Raises BenchError with what went wrong."""
    end = time.monotonic() + drive.STARTS
    while not done():
        if time.monotonic() > end:
            raise BenchError(what)
        time.sleep(0.01)
