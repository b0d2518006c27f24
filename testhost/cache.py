"""Directories of the cache, and locks that say who works in one.

images/KEY/       disk.img (raw, sparse), grub.lnx, vmlinuz, initrd.img, build_key[.pub], host_key.pub, image.json
snapshots/KEY/    ready.qcow2 (overlay of an image plus the machine state of a booted guest)
hosts/NAME/       one running (or dead) host
logs/             build logs, and the serial log of the last host of each name
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testhost.errors import TesthostError


class Cache:
    """Paths under one directory: $HOSTTUNE_CACHE, else `.cache/testhost` in the checkout."""

    def __init__(self, root: Path | None = None) -> None:
        if root is None:
            named = os.environ.get("HOSTTUNE_CACHE")
            root = Path(named) if named else Path(__file__).resolve().parent.parent / ".cache" / "testhost"
        self.root = root.absolute()
        self.images = self.root / "images"
        self.snapshots = self.root / "snapshots"
        self.hosts = self.root / "hosts"
        self.logs = self.root / "logs"

    def make(self) -> None:
        """Creates the directories, readable by their owner only: they hold private keys."""
        for directory in (self.root, self.images, self.snapshots, self.hosts, self.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def locked(path: Path, timeout: float, waiting_for: str) -> Iterator[None]:
    """Holds an exclusive flock on `path`. Raises TesthostError after `timeout` seconds, naming what it waited for."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TesthostError(
                        f"gave up after {timeout:.0f} s waiting for {waiting_for} (lock {path})"
                    ) from None
                time.sleep(0.2)
        yield


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file at once, so that a reader never sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file is not there or is not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
