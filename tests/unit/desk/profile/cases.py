"""Programs that spend most of their time in one function, which is known: five in each of four languages."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PLANTED = Path(__file__).with_name("planted")
#: Share of the machine that others use, from which on a profiler may miss what it looks for.
BUSY = 0.4
PROFILE = (sys.executable, "-P", "-m", "desk", "profile")


class Case(NamedTuple):
    """A module of PLANTED, its function that is hot, and the component that it is of."""

    module: str
    hot: str
    component: str


CASES = [
    Case(f"in_{component.lower()}", hot, component)
    for component, names in {
        "Python": ("mix_prices", "count_words", "join_text", "walk_tree", "Book.update"),
        "Cython": ("fill_cells", "sum_waves", "turn", "count_objects", "cross_averages"),
        "Numba": ("add_steps", "turn_bits", "fill_table", "cross_lines", "divide_ranges"),
        "Rust": ("add_quotes", "divide_lots", "shift_bits", "post_entries", "cross_means"),
    }.items()
    for hot in names
]


def build(module: str, directory: Path) -> Path:
    """Returns the program, in a directory with the module, compiled where it has to be. Skips the test where there is
    no compiler."""
    for path in PLANTED.glob("*.py"):
        shutil.copy(path, directory)
    if module == "in_cython":
        if shutil.which("cc") is None or importlib.util.find_spec("Cython") is None:
            pytest.skip("needs cc and Cython")
        shutil.copy(PLANTED / "in_cython.pyx", directory)
        _compile(sys.executable, "-m", "cython", "-3", "in_cython.pyx", directory=directory)
        _compile("cc", "-O2", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), "in_cython.c", "-o",
                 "in_cython.so", directory=directory)  # fmt: skip
    elif module == "in_rust":
        if shutil.which("rustc") is None:
            pytest.skip("needs rustc")
        _compile("rustc", "--edition", "2021", "--crate-type", "cdylib", "-O", str(PLANTED / "in_rust.rs"), "-o",
                 "libin_rust.so", directory=directory)  # fmt: skip
    elif module == "in_numba":
        pytest.importorskip("numba")
        # Into Numba's cache: else a busy machine spends more on compiling than on what is compiled.
        _compile(sys.executable, "program.py", "in_numba", "add_steps", "0", directory=directory)
    return directory / "program.py"


def sample(profiler: str, case: Case, program: Path, seconds: float) -> Any:
    """Returns the profile of one run of a case."""
    words = ["--with", profiler, "--format", "json", "--", sys.executable, program, case.module, case.hot, seconds]
    done = subprocess.run([*PROFILE, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stderr)


def profile(arguments: list[str], out: Path, *, timeout: float = 120) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Returns what `desk profile` did, and the profile that it saved to a directory."""
    done = subprocess.run([*PROFILE, "--out", str(out), *arguments], capture_output=True, text=True, timeout=timeout)
    saved = out / "profile.json"
    return done, json.loads(saved.read_text()) if saved.exists() else None


def check_case(case: Case, program: Path, seconds: float, profiler: str = "py-spy") -> dict[str, Any]:
    """Returns the table's first row, which is the planted function's. On a machine so busy that the profiler itself had
    no CPU, the program is run again, for longer."""
    for span in (seconds, 3 * seconds, 9 * seconds):
        saved = sample(profiler, case, program, span)
        if not saved["profilers"][0]["ran"] and "perf_event_paranoid" in saved["profilers"][0]["why"]:
            pytest.skip(saved["profilers"][0]["why"])
        rows = [(spot["component"], spot["function"], spot["share"]) for spot in saved["spots"][:6]]
        found = rows and rows[0][0] == case.component
        # Behind the name of a module or class, where the symbol has one.
        if found and re.search(rf"(^|[.:_]){re.escape(case.hot)}$", rows[0][1]):
            first: dict[str, Any] = saved["spots"][0]
            return first
        if saved["rounds"][0]["others"] < BUSY:
            break
    raise AssertionError(f"{case}: found {rows}, {saved['profilers']}")


def _compile(*command: str, directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
