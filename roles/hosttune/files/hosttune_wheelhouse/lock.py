"""The lock files: which file of which package is used, by hash. `tools/lock.py` writes them, in pip's format.

Source: pip's documentation, "Requirements File Format" and "Secure installs".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker, default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

DEPLOYED = "requirements/deployed.txt"  # what is installed on hosts, beside our own wheel: dependencies, and pip
BUILD = "requirements/build.txt"  # what compiles our own wheel on the controller

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\Z")


class Entry(NamedTuple):
    """One version of a package. `via`: who needs it, as the file's comments say."""

    name: str
    version: str
    marker: Marker | None
    hashes: frozenset[str]
    via: tuple[str, ...]

    def applies(self, environment: dict[str, str]) -> bool:
        """Returns whether a host of this environment needs it."""
        return self.marker is None or self.marker.evaluate(environment)

    def pin(self) -> str:
        """Returns the line for pip, without the marker, which pip would evaluate for the Python that runs it."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{digest}" for digest in sorted(self.hashes))


def describe_environment(python: tuple[int, int], machine: str) -> dict[str, str]:
    """Returns the markers' variables (PEP 508) of a CPython on Linux, whatever runs this."""
    dotted = f"{python[0]}.{python[1]}"
    return {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": dotted,
        "python_full_version": f"{dotted}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{dotted}.0",
        "platform_python_implementation": "CPython",
        "platform_machine": machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": "",
    }


def read(path: Path) -> list[Entry]:
    """Read a lock file. Raises OSError, and ValueError that names the line for whatever is not a pin with hashes."""
    found: list[Entry] = []
    pending, start, via = "", 0, list[str]()

    def finish() -> None:
        if pending:
            found.append(_parse(pending, tuple(via), f"{path}:{start}"))

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words, _, comment = line.partition("#")
        if comment and line.startswith(" "):
            via += [name for name in comment.removeprefix(" via").split() if name]
        if not words.strip():
            continue
        if not line.startswith(" "):
            finish()
            pending, start, via = "", number, []
        pending += " " + words.strip().removesuffix("\\").strip()
    finish()
    return found


def _parse(line: str, via: tuple[str, ...], place: str) -> Entry:
    words, *options = re.split(r"\s+(?=--)", line.strip())
    hashes = [_HASH.match(option) for option in options]
    try:
        requirement = Requirement(words)
    except InvalidRequirement as error:
        raise ValueError(f"{place}: {error}") from None
    pins = [each.version for each in requirement.specifier if each.operator == "=="]
    if len(pins) != 1 or len(requirement.specifier) != 1 or requirement.url or pins[0].endswith("*"):
        raise ValueError(f"{place}: found {words!r}, allowed: NAME==VERSION")
    if requirement.extras or "+" in pins[0]:  # a version of nobody's but whoever made the file
        raise ValueError(f"{place}: found {words!r}, allowed: NAME==VERSION without extras and without a local version")
    if not hashes or None in hashes:
        raise ValueError(f"{place}: {words}: found {' '.join(options) or 'no hash'}, allowed: --hash=sha256:HEX")
    digests = frozenset(each[1] for each in hashes if each)
    return Entry(canonicalize_name(requirement.name), pins[0], requirement.marker, digests, via)


def select(entries: Iterable[Entry], environment: dict[str, str]) -> dict[str, Entry]:
    """Returns by name the entries that an environment needs. Raises ValueError for two versions of one package."""
    chosen: dict[str, Entry] = {}
    for entry in entries:
        if entry.applies(environment):
            if entry.name in chosen:
                raise ValueError(f"{entry.name}: both {chosen[entry.name].version} and {entry.version} are locked")
            chosen[entry.name] = entry
    return chosen
