"""Print as JSON what a wheel must fit on this host, and which releases a directory holds.

Runs on the trading host with its own Python (3.6 or newer), from standard input or `-c`:

    ssh HOST python3 -I - < roles/hosttune/files/probe.py > host.json

An argument names a directory of releases: each is listed with whether its installation was completed.
"""

import glob
import json
import os
import sys


def cpu_flags() -> "list[str]":
    """Flags that every online CPU has: hybrid parts differ, and a process may run on any of them."""
    with open("/proc/cpuinfo") as cpuinfo:
        flags = [set(line.split(":", 1)[1].split()) for line in cpuinfo if line.startswith("flags")]
    return sorted(set.intersection(*flags)) if flags else []


def libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return ""


def link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def releases(root: str) -> "dict[str, object]":
    names = [os.path.basename(path) for path in glob.glob(os.path.join(root, "releases", "*"))]
    done = {name: os.path.join(root, "releases", name, ".complete") for name in names}
    complete = [name for name in names if os.path.exists(done[name])]
    return {
        "current": os.path.basename(link(os.path.join(root, "current"))),
        "previous": os.path.basename(link(os.path.join(root, "previous"))),
        # Oldest first, by the time their installation ended.
        "complete": sorted(complete, key=lambda name: os.path.getmtime(done[name])),
        "broken": sorted(set(names) - set(complete)),
    }


host: "dict[str, object]" = {
    "implementation": sys.implementation.name,
    "python": "{}.{}".format(*sys.version_info),
    "free_threaded": "t" in getattr(sys, "abiflags", ""),
    "machine": os.uname().machine,
    "libc": libc(),
    "cpu_flags": cpu_flags(),
}
if len(sys.argv) > 1:
    host["releases"] = releases(sys.argv[1])
json.dump(host, sys.stdout)
sys.stdout.write("\n")
