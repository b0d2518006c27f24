"""What the machine must have before anything is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from testhost.aptsources import KEYRING
from testhost.errors import UsageError

# A program (looked up on PATH and in the system's sbin directories) or a full path → the Debian package that has it.
BUILD = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "sgdisk": "gdisk",
    "grub-mkimage": "grub-common",
    "/usr/lib/grub/i386-pc/lnxboot.img": "grub-pc-bin",
    "ssh-keygen": "openssh-client",
    "gpgv": "gpgv",
    "tar": "tar",
    str(KEYRING): "debian-archive-keyring",
}
BUILD_UNPRIVILEGED = {"fakeroot": "fakeroot", "newuidmap": "uidmap"}
RUN = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
}
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def program(name: str) -> str | None:
    """Full path of a program; also finds mke2fs and sgdisk where sbin is not on a user's PATH."""
    return shutil.which(name, path=SEARCH)


def _there(what: str) -> bool:
    return Path(what).exists() if what.startswith("/") else program(what) is not None


def missing(wanted: Iterable[tuple[str, str]], there: Callable[[str], bool] = _there) -> list[tuple[str, str]]:
    """The (program, package) pairs that are not there, in order."""
    return [(what, package) for what, package in dict(wanted).items() if not there(what)]


def require(*wanted: dict[str, str]) -> None:
    """Raises UsageError that names each missing program and one apt command for all of them."""
    lacking = missing(pair for table in wanted for pair in table.items())
    if lacking:
        lines = [f"  {what}  (Debian package {package})" for what, package in lacking]
        packages = " ".join(sorted({package for _, package in lacking}))
        raise UsageError(
            "these are missing on this machine:\n" + "\n".join(lines) + f"\ninstall them with: apt install {packages}"
        )
