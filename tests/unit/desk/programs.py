"""Programs that the tests start: of this machine, or those that tools/setup has unpacked."""

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest


class Program(NamedTuple):
    """path: of the executable; environment: that finds its libraries."""

    path: str
    environment: dict[str, str]


def find_program(name: str) -> Program:
    """Returns the program of this name. Skips the test where there is none."""
    if path := shutil.which(name):
        return Program(path, dict(os.environ))
    for unpacked in Path(sys.prefix).glob(f"*/usr/bin/{name}"):
        libraries = ":".join(map(str, (unpacked.parents[1] / "lib").glob("*-linux-gnu*")))
        return Program(str(unpacked), {**os.environ, "LD_LIBRARY_PATH": libraries})
    pytest.skip(f"needs {name}, which tools/setup unpacks")
