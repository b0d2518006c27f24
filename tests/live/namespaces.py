"""Run a function in a network, mount and IPC namespace of its own, so that what it sets and mounts ends with it."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_NEW_NS, _NEW_IPC, _NEW_NET = 0x20000, 0x8000000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def run_apart(function: Callable[[], object], covered: Sequence[str] = ()) -> None:
    """Call a function in a child process in new namespaces, with an empty file system mounted on each directory.

    A directory that is not there is made, and removed again. Raises AssertionError with the child's traceback if the
    function raised.
    """
    missing = [directory for directory in covered if not os.path.isdir(directory)]
    for directory in missing:
        Path(directory).mkdir()
    try:
        _run_child(function, covered)
    finally:
        for directory in missing:
            Path(directory).rmdir()


def _run_child(function: Callable[[], object], covered: Iterable[str]) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        words = b""
        try:
            os.close(reader)
            _enter(covered)
            function()
        except BaseException:
            words = traceback.format_exc().encode()
        os.write(writer, words[-60_000:])
        os._exit(1 if words else 0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        words = pipe.read()
    os.waitpid(child, 0)
    assert not words, words.decode()


def _enter(covered: Iterable[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    check(libc.unshare(_NEW_NS | _NEW_IPC | _NEW_NET))
    check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    for directory in covered:
        check(libc.mount(b"none", directory.encode(), b"tmpfs", 0, None))
