"""Which wheels a trading host needs, and what wheels say of themselves."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from hosttune_wheelhouse import lock
from hosttune_wheelhouse.fit import Host, dotless, dotted

FLAVOURS: dict[str, tuple[str, ...]] = {
    # flavour: extras of our wheel
    "hosttune": (),
    "agent": ("agent",),
    "desk": ("agent", "desk"),
}
INSTALLER = "pip"  # goes along with each flavour, so that a host needs none


class Broken(Exception):
    """Something that is needed to build is missing, or the build failed."""


def glibc_floor(filename: str) -> tuple[int, int]:
    """The oldest glibc that a wheel says it runs on (PEP 600 platform tags); (0, 0) if it has no binaries."""
    floors = []
    for tag in parse_wheel_filename(filename)[3]:
        if tag.platform == "any":
            return (0, 0)
        legacy = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
        if match := re.match(r"manylinux_(\d+)_(\d+)_", tag.platform):
            floors.append((int(match[1]), int(match[2])))
        elif (name := tag.platform.split("_")[0]) in legacy:
            floors.append(legacy[name])
    if not floors:
        raise Broken(f"{filename} does not say which glibc it needs (no manylinux tag)")
    return min(floors)


def wheel_version(wheel: Path) -> str:
    return str(parse_wheel_filename(wheel.name)[1])


def metadata(wheel: Path) -> dict[str, list[str]]:
    """The fields of a wheel's METADATA, by lower-case name."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode(), headersonly=True)
    fields: dict[str, list[str]] = {}
    for key, value in message.items():
        fields.setdefault(key.lower(), []).append(value)
    return fields


def built_for(wheel: Path) -> str:
    """The instruction set that our wheel was compiled for, as `hosttune/_build.py` in it says."""
    with zipfile.ZipFile(wheel) as archive:
        if not any(name.endswith(".so") for name in archive.namelist()):
            raise Broken(f"{wheel.name} holds no compiled module")
        try:
            text = archive.read("hosttune/_build.py").decode()
        except KeyError:
            raise Broken(f"{wheel.name} has no hosttune/_build.py, which says what CPU it is for") from None
    match = re.search(r"^CPU\b[^=\n]*=\s*[\"']([^\"']+)[\"']", text, re.MULTILINE)
    if not match:
        raise Broken(f"hosttune/_build.py in {wheel.name} has no line CPU = '...'")
    return match[1]


def needs(wheel: Path, extras: tuple[str, ...], environment: dict[str, str]) -> list[Requirement]:
    """What a wheel, with extras, needs on a host of this environment."""
    requirements = [Requirement(line) for line in metadata(wheel).get("requires-dist", [])]
    return [
        each
        for each in requirements
        if not each.marker or any(each.marker.evaluate({**environment, "extra": x}) for x in extras or ("",))
    ]


def closure(wheels: dict[str, Path], root: str, extras: tuple[str, ...], host: Host) -> list[str]:
    """Names of all wheels that `root[extras]` needs on the host.

    pip evaluates environment markers for the Python that runs it, not for --python-version; so the set is
    walked again here with the host's markers. Raises Broken where a wheel is missing or of a wrong version.
    """
    environment = lock.describe_environment(host.python, host.machine)
    found: set[str] = set()
    todo = [(root, extras)]
    while todo:
        name, wanted_extras = todo.pop()
        found.add(name)
        for requirement in needs(wheels[name], wanted_extras, environment):
            dependency = canonicalize_name(requirement.name)
            wheel = wheels.get(dependency)
            if wheel is None or not requirement.specifier.contains(wheel_version(wheel), prereleases=True):
                locked = wheel.name if wheel else "no such wheel"
                raise Broken(
                    f"{name} needs '{requirement}' on Python {dotted(host.python)}; "
                    f"locked: {locked} (bring {lock.DEPLOYED} up to date: make lock)"
                )
            if dependency not in found:
                todo.append((dependency, tuple(requirement.extras)))
    return sorted(found)


def platforms(host: Host) -> Iterator[str]:
    """Every manylinux tag that the host's glibc satisfies, newest first (PEP 600, and its legacy aliases)."""
    major, newest = host.glibc
    for minor in range(newest, 4, -1):
        yield f"manylinux_{major}_{minor}_{host.machine}"
    for alias in ("manylinux2014", "manylinux2010", "manylinux1"):
        yield f"{alias}_{host.machine}"


def download(entries: list[lock.Entry], host: Host, into: Path) -> dict[str, Path]:
    """Fetch the locked wheels that a host needs; return them by normalised project name.

    Raises Broken for a file that is not one of those that were locked, whoever sent or kept it.
    """
    chosen = lock.select(entries, lock.describe_environment(host.python, host.machine))
    into.mkdir()
    pins = into / "requirements.txt"
    pins.write_text("".join(f"{entry.pin()}\n" for entry in chosen.values()))
    tag = f"cp{dotless(host.python)}"
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", dotted(host.python)]
    for abi in (tag, "abi3", "none"):
        options += ["--abi", abi]
    for name in platforms(host):
        options += ["--platform", name]
    run(
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        "--no-deps",
        "--require-hashes",
        "-d",
        str(into),
        "-r",
        str(pins),
    )
    pins.unlink()
    wheels: dict[str, Path] = {parse_wheel_filename(path.name)[0]: path for path in sorted(into.iterdir())}
    for name, path in wheels.items():
        if name not in chosen or sha256(path) not in chosen[name].hashes:
            raise Broken(f"{path.name} is not a file that {lock.DEPLOYED} names: its SHA-256 is {sha256(path)}")
    if missing := chosen.keys() - wheels.keys():
        raise Broken(f"pip did not download {', '.join(sorted(missing))}")
    return wheels


def run(*command: str, programs: Path | None = None) -> None:
    """Run a tool with this environment's programs in front, or another's; its output appears only if it fails."""
    path = os.pathsep.join([str(programs or Path(sys.executable).parent), os.environ.get("PATH", "")])
    result = subprocess.run(
        command,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode:
        output = "\n".join(result.stdout.decode(errors="replace").splitlines()[-30:])
        raise Broken(f"{' '.join(command)} ended with {result.returncode}:\n{output}")


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
