"""Print the files of a package that the wheel carries, one path a line, relative to the package's folder.

    wheel_files.py FOLDER

meson.build calls this. A wheel carries what a host runs (Python, type stubs, data) and what the author of a strategy
or worker compiles against: the headers, and the declarations of the ABIs and of the rings. It carries no source of a
compiled module and no build file.
"""

import sys
from pathlib import Path, PurePosixPath

#: By suffix: sources of compiled modules, templates, build files, compiled modules (meson installs those itself).
LEFT_OUT = {".pyx", ".pxd", ".c", ".rs", ".in", ".build", ".so", ".pyc"}
#: In spite of that: what the author of a strategy in Cython, C or Rust needs.
FOR_AUTHORS = (
    "strategy/abi.pxd",
    "strategy/include/*",
    "worker/abi.pxd",
    "worker/include/*",
    "shm/*.pxd",
    "shm/include/*",
)


def carried(path: PurePosixPath) -> bool:
    """Returns whether the wheel carries the file at path, relative to its package."""
    if "__pycache__" in path.parts:
        return False
    return path.suffix not in LEFT_OUT or any(path.match(pattern) for pattern in FOR_AUTHORS)


def files(folder: Path) -> list[str]:
    """Returns the files below folder that the wheel carries, sorted, relative to folder."""
    paths = (PurePosixPath(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file())
    return sorted(str(path) for path in paths if carried(path))


if __name__ == "__main__":
    print("\n".join(files(Path(sys.argv[1]))))
