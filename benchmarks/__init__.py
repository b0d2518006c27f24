"""Benchmarks, run from the repository: `python -m benchmarks.agent`. They measure the installed packages."""

import sys
from pathlib import Path

# `python -m` puts the working directory first, where hosttune/ and agent/ are sources without their compiled modules.
_ROOT = str(Path(__file__).resolve().parent.parent)
sys.path[:] = [path for path in sys.path if path not in ("", _ROOT)] + [_ROOT]
_RUN = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); del sys.argv[0]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def find_command(module: str, *words: object) -> list[str]:
    """Returns the command that runs a module of the benchmarks in another process, from any working directory."""
    return [sys.executable, "-P", "-c", _RUN, _ROOT, module, *map(str, words)]
