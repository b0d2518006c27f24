"""Which host this is: name, kernel, number of CPUs."""

from __future__ import annotations

import re
from typing import TypedDict

from hosttune.host import cpu
from hosttune.host.root import Fact, Root

RELEASE = "/proc/sys/kernel/osrelease"


class Identity(TypedDict):
    """None where it could not be read; `kernel` is the release, `cpus` counts those that are online."""

    hostname: str | None
    kernel: str | None
    cpus: int | None


def read(root: Root) -> Identity:
    """Read which host a root is of."""
    online = root.read(f"{cpu.DIRECTORY}/online").map(lambda text: len(cpu.parse_list(text)))
    return {
        "hostname": root.read("/proc/sys/kernel/hostname").map(str.strip).value,
        "kernel": root.read(RELEASE).map(str.strip).value,
        "cpus": online.value,
    }


def read_release(root: Root) -> Fact[tuple[int, int]]:
    """Read major and minor number of the kernel's release."""
    return root.read(RELEASE).map(parse_release)


def parse_release(text: str) -> tuple[int, int]:
    """Returns the major and minor number of a kernel release such as `6.12.9-amd64`. Raises ValueError."""
    match = re.match(r"(\d+)\.(\d+)", text)
    if match is None:
        raise ValueError(f"{text.strip()[:40]!r} is not a kernel release")
    return int(match[1]), int(match[2])
