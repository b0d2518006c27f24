"""Python environments of their own, for what is measured as it is installed, or needs other packages than this one."""

import os
import subprocess
import venv
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache/benchmarks"
#: For what runs there: nothing of this process's Python.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
}


def make_environment(name: str, requirement: str, *, fresh: bool = False) -> Path:
    """Returns the directory of the programs of an environment with `requirement`, which is installed where it is not
    there, and anew where `fresh`. Raises CalledProcessError, TimeoutExpired."""
    directory = CACHE / name
    if fresh or not (directory / "done").exists():
        venv.create(directory, with_pip=True, clear=True)
        run([directory / "bin/python", "-m", "pip", "install", "--quiet", "--compile", requirement])
        (directory / "done").touch()
    return directory / "bin"


def run(command: list[Path | str]) -> None:
    """Run a command. Raises CalledProcessError, TimeoutExpired: after 15 minutes."""
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=900)
