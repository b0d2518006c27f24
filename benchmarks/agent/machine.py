"""What a measurement has to say about the machine, and whether the machine was quiet meanwhile."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.agent.sample import BenchError
from hosttune.host.load import QUIET as QUIET
from hosttune.host.load import Moment as Moment
from hosttune.host.load import describe as describe
from hosttune.host.load import foreign as foreign
from hosttune.host.load import moment as moment

REFERENCES = Path(__file__).with_name("reference")


#: By a source's suffix: environment variable, commands to look for, language options, Debian packages.
_COMPILERS = {
    ".c": ("CC", ("cc", "gcc"), ["-std=gnu11", "-Wall"], "gcc libc6-dev"),
    ".cpp": ("CXX", ("c++", "g++"), ["-std=c++17", "-Wall"], "g++"),
    ".f90": ("FC", ("gfortran",), ["-Wall"], "gfortran"),
}


def compiler(suffix: str) -> str | None:
    """The compiler for sources of this suffix, None where there is none."""
    variable, commands, _, _ = _COMPILERS[suffix]
    return os.environ.get(variable) or next(filter(None, map(shutil.which, commands)), None)


def no_compiler(suffix: str) -> str | None:
    """Why a reference of this suffix cannot be built here, None if it can."""
    if compiler(suffix):
        return None
    return f"no compiler ({_COMPILERS[suffix][1][0]}); on Debian: apt-get install {_COMPILERS[suffix][3]}"


def build(name: str, directory: Path, *options: str, suffix: str = ".c", shared: bool = False) -> Path:
    """Compile reference/NAME.c (.cpp, .f90) with this machine's compiler, optimised for its CPU. Raises BenchError."""
    command = compiler(suffix)
    if command is None:
        raise BenchError(f"reference/{name}{suffix}: {no_compiler(suffix)}")
    source = REFERENCES / f"{name}{suffix}"
    target = directory / (f"{name}.so" if shared else name)
    room = Path(__file__).parents[2] / "agent"
    include = (room / "shm" / "include", room / "strategy" / "include")
    line = [command, *_COMPILERS[suffix][2], "-O3", "-march=native", *(f"-I{i}" for i in include)]
    line += ["-shared", "-fPIC"] if shared else []
    run = subprocess.run([*line, *options, "-o", str(target), str(source)], capture_output=True, text=True, timeout=120)
    if run.returncode:
        raise BenchError(f"{source} does not compile: {run.stderr.strip().splitlines()[0]}")
    return target


def no_package(name: str) -> str | None:
    """Why a Python package cannot be a reference here, None if it can."""
    return None if importlib.util.find_spec(name) else f"Python package {name} is not installed; `make bench` does it"


def checkout(name: str) -> Path | None:
    """A source tree of others, NAME in the directory $AGENT_BENCH_REFERENCES; None if it is not there."""
    place = os.environ.get("AGENT_BENCH_REFERENCES")
    return Path(place, name) if place and Path(place, name).is_dir() else None


def no_checkout(name: str, repository: str) -> str | None:
    """Why a source tree cannot be a reference here, None if it can."""
    if checkout(name):
        return None
    return f"no {name} in the directory $AGENT_BENCH_REFERENCES; it is https://github.com/{repository}"


def two_cpus() -> tuple[int, int]:
    """(generator's, agent's): the first two CPUs this process may use. Raises BenchError when there is one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError(f"CPUs: found {allowed}, allowed: at least two, one for each side")
    return allowed[0], allowed[1]
