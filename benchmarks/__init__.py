"""Benchmarks, run from the repository: `python -m benchmarks.agent`. They measure the installed packages."""

import sys
from pathlib import Path

# `python -m` puts the working directory first, where hosttune/ and agent/ are sources without their compiled modules.
_ROOT = str(Path(__file__).resolve().parent.parent)
sys.path[:] = [path for path in sys.path if path not in ("", _ROOT)] + [_ROOT]
