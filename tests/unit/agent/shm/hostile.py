"""What may be at a name where an agent's file is wanted, and who may own or write the directory around it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

STRANGER = 12345
#: Bytes of a file that no command may write to.
VICTIM = b"root's own" + bytes(4096)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # A path of at most 107 bytes.
        here = os.getcwd()
        os.chdir(path.parent)
        made.bind(path.name)
        os.chdir(here)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    os.mknod(path, 0o20600, os.makedev(1, 5))  # /dev/zero: endless


def link(path: Path) -> None:
    victim = path.with_name("victim")
    if path.exists():
        path.rename(victim)
    else:
        victim.write_bytes(VICTIM)
    path.symlink_to(victim)


def dangling(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def hard_link(path: Path) -> None:
    if not path.exists():
        path.write_bytes(VICTIM)
    os.link(path, path.with_name("second name"))


def writable(path: Path) -> None:
    if not path.exists():
        path.write_bytes(b"")
    path.chmod(0o666)


def strangers(path: Path) -> None:
    if not path.exists():
        path.write_bytes(b"")
    os.chown(path, STRANGER, STRANGER)


def strangers_directory(path: Path) -> None:
    os.chown(path.parent, STRANGER, STRANGER)


def open_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def group_directory(path: Path) -> None:
    path.parent.chmod(0o775)


def sticky_directory(path: Path) -> None:
    path.parent.chmod(0o1777)


def strangers_way(path: Path) -> None:
    os.chown(path.parent.parent, STRANGER, STRANGER)


def open_way(path: Path) -> None:
    path.parent.parent.chmod(0o777)


Attack = Callable[[Path], None]
#: At the name itself: those that replace what is there, and those that change it.
KINDS: list[Attack] = [fifo, listener, folder, device, link, dangling, hard_link, writable]
#: Of another user: only root can make them.
OWNERS: list[Attack] = [strangers, strangers_directory, strangers_way]
#: Around the name.
DIRECTORIES: list[Attack] = [open_directory, group_directory, sticky_directory, open_way]
REPLACING = {fifo, listener, folder, device}
#: What a user sees: one of these, and the path.
REFUSED = (
    r"found (a FIFO|a socket|a FIFO or a socket|a directory|a character device|a symbolic link|a file with 2 names|"
    r"mode \d{4}|a file of user \d+), allowed: |No such file or directory|Is a directory|File exists|"
    r"No such device or address"
)


def attacks() -> list[Attack]:
    """Returns the attacks that this user can make."""
    root = os.geteuid() == 0
    return [*(k for k in KINDS if root or k is not device), *(OWNERS if root else []), *DIRECTORIES]


def do(attack: Attack, path: Path) -> None:
    """Attack a path, where the file itself may be already."""
    if attack in REPLACING:
        path.unlink(missing_ok=True)
    attack(path)
