"""Which host this is: name, kernel, number of CPUs."""

from __future__ import annotations

from typing import Any

from hosttune.host import cpulist
from hosttune.host.root import Root


def read(root: Root) -> dict[str, Any]:
    """Return {"hostname": str | None, "kernel": str | None, "cpus": int | None}; None where unreadable.

    `cpus` counts CPUs that are online.
    """
    online = root.read("/sys/devices/system/cpu/online").map(lambda text: len(cpulist.parse(text)))
    return {
        "hostname": root.read("/proc/sys/kernel/hostname").map(str.strip).value,
        "kernel": root.read("/proc/sys/kernel/osrelease").map(str.strip).value,
        "cpus": online.value,
    }
