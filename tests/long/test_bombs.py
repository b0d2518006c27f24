"""Each parser of a host's files, given all that it may get: at most 2 s of CPU time and 256 MiB."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cpu_time import is_within
from tests.long import bombs_host

SECONDS, BYTES = 2.0, 256 << 20
_CODE = """
import importlib, json, sys
sys.path.append(sys.argv[1])
found = importlib.import_module("tests.long.bombs_host").measure(sys.argv[2])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))  # since the exec
print(json.dumps([found, int(peak) * 1024]))
"""

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", sorted(bombs_host.find_parsers()))
def test_all_that_a_parser_may_get(name: str) -> None:
    command = [sys.executable, "-P", "-c", _CODE, str(Path(__file__).parents[2]), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found, memory = json.loads(done.stdout)
    assert {shape: seconds for shape, seconds in found.items() if not is_within(seconds, SECONDS)} == {}
    assert memory <= BYTES, f"{memory / (1 << 20):.0f} MiB"
