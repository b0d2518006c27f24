"""The ring's memory ordering under ThreadSanitizer: tests/fuzz/_stress_ring.pyx, as it is, and without its ordering.

The sanitizer follows what happens before what by the atomic accesses that the program makes, and not by what this
processor reorders: a pair of accesses that only x86-64 keeps in order is reported here. The variants without ordering
are the compiler's: -D makes acquire, release, or the whole atomic access weaker, and each has to be reported.
RING_RECORDS is how many records each case sends.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RECORDS = int(os.environ.get("RING_RECORDS", "1000000"))
RACE = 66  # the sanitizer's exit code

_RUN = """
import importlib.machinery, importlib.util, sys
path, record, count = sys.argv[1:]
loader = importlib.machinery.ExtensionFileLoader("_stress_ring", path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_stress_ring", loader))
loader.exec_module(module)
print(module.stress(int(record), int(count)))
"""

WEAKER = {
    "no acquire": ["-U__ATOMIC_ACQUIRE", "-D__ATOMIC_ACQUIRE=__ATOMIC_RELAXED"],
    "no release": ["-U__ATOMIC_RELEASE", "-D__ATOMIC_RELEASE=__ATOMIC_RELAXED"],
    "plain": [
        "-D__atomic_load_n(p,order)=(*(volatile __typeof__(*(p)) *)(p))",
        "-D__atomic_store_n(p,v,order)=(*(volatile __typeof__(*(p)) *)(p)=(v))",
    ],
}

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def library() -> str:
    """The sanitizer's run time, for LD_PRELOAD: Python itself is not built with it."""
    try:
        done = subprocess.run(["gcc", "-print-file-name=libtsan.so"], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.fail("no gcc; on Debian: apt-get install gcc libc6-dev")
    found = Path(done.stdout.strip())
    if not found.is_file():
        pytest.fail("gcc has no ThreadSanitizer (libtsan.so); on Debian: apt-get install gcc libtsan2")
    return str(found)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code = tmp_path_factory.mktemp("tsan") / "_stress_ring.c"
    cython = [sys.executable, "-m", "cython", "-3", "-I", str(ROOT), "-o", str(code)]
    cython.append(str(ROOT / "tests" / "fuzz" / "_stress_ring.pyx"))
    done = subprocess.run(cython, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return code


def run(source: Path, library: str, record: int, options: list[str]) -> subprocess.CompletedProcess[str]:
    target = source.with_suffix(".so")
    compiler = ["gcc", "-shared", "-fPIC", "-O1", "-g", "-fsanitize=thread", "-Wno-unused-function", *options]
    compiler += ["-I", sysconfig.get_path("include"), str(source), "-o", str(target)]
    done = subprocess.run(compiler, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    environment = os.environ | {"LD_PRELOAD": library, "TSAN_OPTIONS": f"halt_on_error=1:exitcode={RACE}"}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", _RUN, str(target), str(record), str(RECORDS)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120 + RECORDS / 5_000,
    )


RECORD = pytest.mark.parametrize("record", [64, 200, 24, 0], ids=["64", "200", "24", "variable"])


@RECORD
def test_no_access_is_unordered(record: int, source: Path, library: str) -> None:
    done = run(source, library, record, [])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == RECORDS and "ThreadSanitizer" not in done.stderr


@RECORD
@pytest.mark.parametrize("weaker", WEAKER)
def test_without_the_ordering_the_sanitizer_reports_a_race(
    record: int, weaker: str, source: Path, library: str
) -> None:
    done = run(source, library, record, WEAKER[weaker])
    assert done.returncode == RACE, f"{done.returncode}: {done.stdout} {done.stderr}"
    assert "ThreadSanitizer: data race" in done.stderr and "_stress_ring" in done.stderr
