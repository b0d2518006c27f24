"""Does a wheelhouse fit a trading host? Pure: a manifest and a host in, reasons out."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from hosttune_wheelhouse import manifests

# The psABI's micro-architecture levels, by the names of /proc/cpuinfo (pni is SSE3, abm has LZCNT).
# https://gitlab.com/x86-psABIs/x86-64-ABI
CPU_LEVELS: dict[str, frozenset[str]] = {
    "x86-64": frozenset(["cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2", "lm"]),
    "x86-64-v2": frozenset(["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"]),
    "x86-64-v3": frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"]),
    "x86-64-v4": frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]),
}


class Refusal(Exception):
    """The wheels do not fit the host; one line per reason."""


class Host(NamedTuple):
    """What a wheel depends on. `glibc` is (0, 0) where the C library is another one."""

    implementation: str
    python: tuple[int, int]
    free_threaded: bool
    machine: str
    libc: str
    cpu_flags: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Host:
        """Read the JSON of probe.py; raise ValueError with what is wrong."""
        facts = manifests.read_json(text, "the host's description is not what probe.py prints")
        try:
            flags = facts["cpu_flags"]
            if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
                raise ValueError(
                    "the host's description is not what probe.py prints: cpu_flags: allowed: a list of texts"
                )
            if not re.fullmatch("[A-Za-z0-9_]{1,40}", str(facts["machine"])):  # a part of a directory's name here
                raise ValueError("the host's description is not what probe.py prints: machine: allowed: as of uname")
            return cls(
                implementation=str(facts["implementation"]),
                python=version(facts["python"]),
                free_threaded=bool(facts["free_threaded"]),
                machine=str(facts["machine"]),
                libc=str(facts["libc"]),
                cpu_flags=frozenset(flags),
            )
        except KeyError as error:
            raise ValueError(f"the host's description has no {error}") from None

    @property
    def glibc(self) -> tuple[int, int]:
        name, _, number = self.libc.partition(" ")
        return version(number) if name == "glibc" else (0, 0)

    @property
    def directory(self) -> str:
        return f"cp{dotless(self.python)}-{self.machine}-glibc{dotted(self.glibc)}"


def version(text: str) -> tuple[int, int]:
    """'2.36' and '2.36.1' → (2, 36)."""
    match = re.match(r"([0-9]{1,5})\.([0-9]{1,5})(?![0-9])", str(text))
    if not match:
        raise ValueError(f"{str(text)[:60]!r} is not a version like 3.11")
    return int(match[1]), int(match[2])


def dotted(number: tuple[int, int]) -> str:
    return f"{number[0]}.{number[1]}"


def dotless(number: tuple[int, int]) -> str:
    return f"{number[0]}{number[1]}"


def cpu_level(flags: frozenset[str]) -> str:
    """The highest micro-architecture level that is complete, with all levels below it; '' for none."""
    reached = ""
    for level, needed in CPU_LEVELS.items():
        if not needed <= flags:
            break
        reached = level
    return reached


def misfits(manifest: dict[str, Any], host: Host) -> list[str]:
    """Why the wheels cannot run on the host: each line names both sides and what to do. Empty: they fit."""
    reasons = misfits_of_any_build(host)
    if manifest["python"] != dotted(host.python):
        reasons.append(
            f"the wheels are for Python {manifest['python']}, the host's is {dotted(host.python)}: "
            "build a wheelhouse for this host, "
            f"or point hosttune_python at a Python {manifest['python']} there"
        )
    if manifest["machine"] != host.machine:
        reasons.append(
            f"the wheels are for {manifest['machine']}, the host is {host.machine}: "
            f"build the wheelhouse on a {host.machine} machine"
        )
    elif manifest["cpu"] == "native":
        reasons.append(
            "the wheels were compiled for exactly the machine that built them (-Dnative=true): "
            "build without that option"
        )
    elif manifest["cpu"] in CPU_LEVELS:
        needed = level_flags(manifest["cpu"])
        if not needed <= host.cpu_flags:
            reasons.append(
                f"the wheels need a CPU of level {manifest['cpu']}, the host's is "
                f"{cpu_level(host.cpu_flags) or 'below x86-64'} "
                f"(it lacks {', '.join(sorted(needed - host.cpu_flags))}): "
                "use a newer CPU, or let the hypervisor show the guest all of it"
            )
    if version(manifest["glibc"]) > host.glibc:
        reasons.append(
            f"the wheels need glibc {manifest['glibc']}, the host has {host.libc or 'none'}: "
            "build the wheelhouse on a system as old as the host's"
        )
    return reasons


def misfits_of_any_build(host: Host) -> list[str]:
    """What no build of ours can run on, whatever is done on the controller."""
    reasons = []
    if host.implementation != "cpython" or host.free_threaded:
        kind = host.implementation + (" (free-threaded)" if host.free_threaded else "")
        reasons.append(
            f"the wheels are for CPython with the GIL, the host's Python is {kind}: point hosttune_python at CPython"
        )
    if host.glibc == (0, 0):
        reasons.append(f"the wheels need glibc, the host has {host.libc or 'another C library'}: use a glibc system")
    return reasons


def level_flags(level: str) -> frozenset[str]:
    names = list(CPU_LEVELS)
    return frozenset().union(*(CPU_LEVELS[name] for name in names[: names.index(level) + 1]))
