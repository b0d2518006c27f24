"""What execve(2) will make of a command: which image really runs, and whether LD_PRELOAD reaches it."""

from __future__ import annotations

import os
import stat
import struct
from typing import BinaryIO

import msgspec

# fs/exec.c: at most five images are tried, each script's interpreter being the next.
_MAX_INTERPRETERS = 5
_PT_INTERP = 3
# fs/binfmt_elf.c, load_elf_phdrs(): bytes of all program headers.
_MOST_HEADERS = 65536


class Program(msgspec.Struct, frozen=True):
    """`images` are the file named and the interpreters of its `#!` lines, the one that runs last.

    `dynamic` says whether that one has a dynamic loader (ELF program header PT_INTERP), `secure` whether
    the loader will run in secure-execution mode (ld.so(8)), where LD_PRELOAD is ignored. `problem` says
    why it could not be examined.
    """

    path: str
    images: list[str]
    dynamic: bool
    secure: bool
    problem: str = ""

    @property
    def executes_again(self) -> bool:
        """`#!/usr/bin/env` executes a second time, and execve drops memory locks."""
        return os.path.basename(self.images[-1]) == "env" or os.path.basename(self.path) == "env"


def find_program(command: str, search_path: str | None = None) -> str | None:
    """Returns the absolute path of the file that `command` names, or None."""
    if os.sep in command:
        return os.path.abspath(command) if os.path.isfile(command) else None
    import shutil  # late: it brings compression libraries with it

    found = shutil.which(command, mode=os.F_OK, path=search_path)
    return None if found is None else os.path.abspath(found)


def inspect_program(path: str) -> Program:
    """Read the headers of `path` and of its interpreters."""
    images = [path]
    try:
        for _ in range(_MAX_INTERPRETERS):
            with _open_image(images[-1]) as image:
                head = image.read(256)
                if not head.startswith(b"#!"):
                    status = os.fstat(image.fileno())
                    return Program(path, images, _is_dynamic(image, head), _is_secure(images[-1], status))
                words = head[2:].split(b"\n", 1)[0].split()
                if not words:
                    return Program(path, images, False, False, f"{images[-1]}: its #! line names nothing")
                images.append(os.fsdecode(words[0]))
    except OSError as error:
        return Program(path, images, False, False, f"{images[-1]}: {error.strerror}")
    except (ValueError, OverflowError, struct.error) as error:
        return Program(path, images, False, False, f"{images[-1]}: {error}")
    return Program(path, images, False, False, f"{path}: too many interpreters in a row")


def _open_image(path: str) -> BinaryIO:
    """Open a file that another user may have named: a FIFO has no reader to wait for, a device may do something."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file")
    return open(descriptor, "rb")


def _is_dynamic(image: BinaryIO, head: bytes) -> bool:
    """elf(5): look for PT_INTERP among the program headers."""
    if head[:4] != b"\x7fELF":
        raise ValueError("neither an ELF image nor a script with a #! line")
    order = "<" if head[5] == 1 else ">"
    if head[4] == 2:
        (offset,), (size, count) = (
            struct.unpack_from(order + "Q", head, 32),
            struct.unpack_from(order + "HH", head, 54),
        )
    else:
        (offset,), (size, count) = (
            struct.unpack_from(order + "I", head, 28),
            struct.unpack_from(order + "HH", head, 42),
        )
    if size * count > _MOST_HEADERS:
        raise ValueError(f"program headers of {size * count:,} bytes, allowed: {_MOST_HEADERS:,}")
    image.seek(offset)
    table = image.read(size * count)
    return any(struct.unpack_from(order + "I", table, n * size)[0] == _PT_INTERP for n in range(count))


def _is_secure(path: str, status: os.stat_result) -> bool:
    if status.st_mode & stat.S_ISUID or (status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP):
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False
