"""Collect the wheels that a trading host needs, and refuse a host that they do not fit.

Trading hosts have no internet. This runs on the controller and makes a directory with our own wheel, all its
dependencies for the *target's* Python and C library (not the controller's), and pip itself:

    wheelhouse.json          what the wheels need of a host, and what each flavour consists of
    hosttune-RELEASE.tar     the light flavour: wheels/, requirements.txt with hashes, wheelhouse.json
    agent-RELEASE.tar        the same with what the agent needs

A host is described by the JSON that `probe.py`, beside this file, prints there.

    wheelhouse.py build DIR --host HOST.json     build, unless DIR is up to date with the sources
    wheelhouse.py check DIR --host HOST.json     only compare; for a directory that was built elsewhere
    wheelhouse.py wheel DIR                      compile our own wheel only, the one that `build` in DIR takes too

Each prints one JSON object. Exit status: 0 done, and fits; 1 does not fit (the reasons are on standard error);
2 usage, or the build failed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

TREE = Path(__file__).resolve().parents[3]
FORMAT = 1
MANIFEST = "wheelhouse.json"
FLAVOURS: dict[str, tuple[str, ...]] = {"hosttune": (), "agent": ("agent",)}  # flavour: extras of our wheel
SOURCES = ("pyproject.toml", "meson.build", "meson.options", "tools/wheel_files.py", "hosttune", "agent")
BUILD_ONLY = ("LICENSE", "README.md")  # the build wants them, but they change nothing that runs
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", ".*")

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


class Broken(Exception):
    """Something that is needed to build is missing, or the build failed."""


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
        try:
            facts = json.loads(text)
            return cls(
                implementation=str(facts["implementation"]),
                python=version(facts["python"]),
                free_threaded=bool(facts["free_threaded"]),
                machine=str(facts["machine"]),
                libc=str(facts["libc"]),
                cpu_flags=frozenset(facts["cpu_flags"]),
            )
        except KeyError as error:
            raise ValueError(f"the host's description has no {error}") from None
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"the host's description is not what probe.py prints: {error}") from None

    @property
    def glibc(self) -> tuple[int, int]:
        name, _, number = self.libc.partition(" ")
        return version(number) if name == "glibc" else (0, 0)

    @property
    def directory(self) -> str:
        return f"cp{dotless(self.python)}-{self.machine}-glibc{dotted(self.glibc)}"


def version(text: str) -> tuple[int, int]:
    """'2.36' and '2.36.1' → (2, 36)."""
    match = re.match(r"(\d+)\.(\d+)", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a version like 3.11")
    return int(match[1]), int(match[2])


def dotted(number: tuple[int, int]) -> str:
    return f"{number[0]}.{number[1]}"


def dotless(number: tuple[int, int]) -> str:
    return f"{number[0]}{number[1]}"


# --- does it fit? -----------------------------------------------------------------------------------------


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


# --- what wheels say of themselves ------------------------------------------------------------------------


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


def closure(wheels: dict[str, Path], root: str, extras: tuple[str, ...], host: Host) -> list[str]:
    """Names of all wheels that `root[extras]` needs on the host.

    pip evaluates environment markers for the Python that runs it, not for --python-version; so the set is
    walked again here with the host's markers. Raises Broken where a wheel is missing or of a wrong version.
    """
    environment: dict[str, str] = {**default_environment()}  # type: ignore[dict-item]
    environment.update(
        python_version=dotted(host.python),
        python_full_version=f"{dotted(host.python)}.0",
        implementation_name="cpython",
        platform_python_implementation="CPython",
        platform_machine=host.machine,
        platform_system="Linux",
        sys_platform="linux",
        os_name="posix",
    )
    found: set[str] = set()
    todo = [(root, extras)]
    while todo:
        name, wanted_extras = todo.pop()
        found.add(name)
        for line in metadata(wheels[name]).get("requires-dist", []):
            requirement = Requirement(line)
            marker = requirement.marker
            if marker and not any(marker.evaluate({**environment, "extra": x}) for x in wanted_extras or ("",)):
                continue
            dependency = canonicalize_name(requirement.name)
            wheel = wheels.get(dependency)
            if wheel is None or not requirement.specifier.contains(wheel_version(wheel), prereleases=True):
                downloaded = wheel.name if wheel else "no such wheel"
                raise Broken(f"{name} needs {line!r} on Python {dotted(host.python)}; downloaded: {downloaded}")
            if dependency not in found:
                todo.append((dependency, tuple(requirement.extras)))
    return sorted(found)


# --- building ---------------------------------------------------------------------------------------------


def sources_digest(tree: Path, host: Host | None = None) -> str:
    """Hash of the project's sources, from which our wheel is made; with a host, of what its wheelhouse is made from."""
    digest = hashlib.sha256(f"{FORMAT} {host.directory if host else 'wheel'}\0".encode())
    for path in files_of(tree, SOURCES):
        digest.update(f"{path.relative_to(tree)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def files_of(tree: Path, names: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for top in (tree / name for name in names):
        if top.is_file():
            found.append(top)
        for directory, subdirectories, files in os.walk(top):
            subdirectories[:] = set(subdirectories) - LEFTOVERS(directory, subdirectories)
            found += [Path(directory) / name for name in set(files) - LEFTOVERS(directory, files)]
    return sorted(found)


def run(*command: str) -> None:
    """Run a tool with this environment's programs in front; its output appears only if it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
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


def require_tools() -> None:
    missing = [name for name in ("pip", "auditwheel", "wheel") if importlib.util.find_spec(name) is None]
    if missing:
        raise Broken(
            f"{sys.executable} has no {', '.join(missing)}: install the project's dependency group `controller` there"
        )


def own_wheel(tree: Path, directory: Path) -> tuple[Path, bool]:
    """Our wheel of these sources, kept in `directory` for every kind of host; and whether it had to be compiled."""
    if not (tree / "pyproject.toml").is_file():
        raise Broken(
            f"{tree} is not the project's source tree: set hosttune_source to a checkout, "
            "or hosttune_wheelhouse to a directory that was built from one"
        )
    require_tools()
    kept = directory / f"own-{sources_digest(tree)[:16]}"
    missing = not kept.is_dir()
    if missing:
        with tempfile.TemporaryDirectory(prefix=".wheel-", dir=directory) as temporary:
            new = build_own(tree, Path(temporary)).parent
            for old in directory.glob("own-*"):
                shutil.rmtree(old)
            new.rename(kept)
    (wheel,) = kept.glob("*.whl")
    return wheel, missing


def build_own(tree: Path, work: Path) -> Path:
    """Compile our wheel from a copy of the sources; name the glibc and the oldest Python that it runs on."""
    copy = work / "sources"
    for path in files_of(tree, SOURCES + BUILD_ONLY):
        (copy / path.relative_to(tree)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy / path.relative_to(tree))
    # With the build tools at hand nothing is downloaded; otherwise pip fetches them for this one build.
    at_hand = all(importlib.util.find_spec(name) for name in ("mesonpy", "Cython"))
    isolation = ["--no-build-isolation"] if at_hand else []
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", *isolation, "-w", str(work / "built"), str(copy))
    (built,) = (work / "built").glob("*.whl")
    run(sys.executable, "-m", "auditwheel", "repair", "-w", str(work / "own"), str(built))
    (own,) = (work / "own").glob("*.whl")
    # meson-python's tag is the Python that ran it. Modules of the limited API run on every later one too,
    # and ours are compiled for the oldest that the project supports.
    oldest = re.search(r">=\s*([\d.]+)", metadata(own).get("requires-python", [""])[0])
    if oldest and (python_tag := f"cp{dotless(version(oldest[1]))}") != own.name.split("-")[2]:
        run(sys.executable, "-m", "wheel", "tags", "--remove", "--python-tag", python_tag, str(own))
        (own,) = (work / "own").glob("*.whl")
    return own


def platforms(host: Host) -> Iterator[str]:
    """Every manylinux tag that the host's glibc satisfies, newest first (PEP 600, and its legacy aliases)."""
    major, newest = host.glibc
    for minor in range(newest, 4, -1):
        yield f"manylinux_{major}_{minor}_{host.machine}"
    for alias in ("manylinux2014", "manylinux2010", "manylinux1"):
        yield f"{alias}_{host.machine}"


def download(own: Path, host: Host, into: Path) -> dict[str, Path]:
    """Fetch what our wheel needs on the host, and pip; return all wheels by normalised project name."""
    tag = f"cp{dotless(host.python)}"
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", dotted(host.python)]
    for abi in (tag, "abi3", "none"):
        options += ["--abi", abi]
    for name in platforms(host):
        options += ["--platform", name]
    extras = ",".join(sorted({extra for wanted in FLAVOURS.values() for extra in wanted}))
    wanted = f"hosttune[{extras}] @ {own.as_uri()}"
    run(sys.executable, "-m", "pip", "download", *options, "-d", str(into), wanted, "pip")
    return {parse_wheel_filename(path.name)[0]: path for path in sorted(into.glob("*.whl"))}


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def build(tree: Path, directory: Path, host: Host) -> dict[str, Any]:
    """Make a wheelhouse for the host in `directory`, as a whole or not at all; return its manifest."""
    if platform.machine() != host.machine:
        raise Refusal(
            f"the host is {host.machine}, this controller is {platform.machine()}: build the wheelhouse on a "
            f"{host.machine} machine and set hosttune_wheelhouse to the directory"
        )
    own, _ = own_wheel(tree, directory.parent)
    with tempfile.TemporaryDirectory(prefix=".wheelhouse-", dir=directory.parent) as temporary:
        work = Path(temporary)
        wheels = download(own, host, work / "wheels")
        project, release = parse_wheel_filename(own.name)[:2]
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "version": str(release),
            "python": dotted(host.python),
            "machine": host.machine,
            "cpu": built_for(own),
            "glibc": dotted(max(glibc_floor(path.name) for path in wheels.values())),
            "sources": sources_digest(tree, host),
            "wheels": {path.name: sha256(path) for path in wheels.values()},
            "flavours": {},
        }
        new = work / "new"
        new.mkdir()
        for flavour, extras in FLAVOURS.items():
            names = closure(wheels, str(project), extras, host)
            lines = {
                name: f"{name}=={wheel_version(wheels[name])} --hash=sha256:{sha256(wheels[name])}\n" for name in names
            }
            # The same sources and dependencies make the same release, whoever compiled them.
            others = "".join(line for name, line in lines.items() if name != project)
            identity = hashlib.sha256((manifest["sources"] + others).encode()).hexdigest()[:10]
            manifest["flavours"][flavour] = {
                "release": f"{release}-{identity}",
                "archive": f"{flavour}-{release}-{identity}.tar",
                "packages": {name: wheel_version(wheels[name]) for name in names},
                "requirements": "".join(lines.values()),
            }
        for flavour in manifest["flavours"].values():
            pack(new, flavour, [wheels[name] for name in (*flavour["packages"], "pip")], manifest)
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if directory.exists():
            directory.rename(work / "old")
        new.rename(directory)
    return manifest


def pack(into: Path, flavour: dict[str, Any], wheels: list[Path], manifest: dict[str, Any]) -> None:
    """One archive per flavour, since a trading host is far away and every file costs a round trip."""
    release = into / flavour["release"]
    (release / "wheels").mkdir(parents=True)
    for wheel in wheels:
        os.link(wheel, release / "wheels" / wheel.name)
    (release / "requirements.txt").write_text(flavour["requirements"])
    (release / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

    def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with tarfile.open(into / flavour["archive"], "w") as archive:
        archive.add(release, flavour["release"], filter=owned_by_root)
    shutil.rmtree(release)


def load(directory: Path) -> dict[str, Any]:
    """Read a manifest; raise Broken if there is none, it is of another format, or an archive is missing."""
    path = directory / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise Broken(f"{directory} is not a wheelhouse: it has no {MANIFEST}") from None
    except json.JSONDecodeError as error:
        raise Broken(f"{path}: {error}") from None
    if manifest.get("format") != FORMAT:
        raise Broken(f"{path} has format {manifest.get('format')!r}, this project reads {FORMAT}: build it again")
    for flavour in manifest["flavours"].values():
        if not (directory / flavour["archive"]).is_file():
            raise Broken(f"{directory} lacks {flavour['archive']}: build it again")
    return manifest


def up_to_date(tree: Path, directory: Path, host: Host) -> dict[str, Any] | None:
    with contextlib.suppress(Broken):
        manifest = load(directory)
        if manifest["sources"] == sources_digest(tree, host):
            return manifest
    return None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Several hosts of a play may ask for the same wheelhouse at once; the first builds it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wheelhouse.py", description=__doc__.partition("\n\n")[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("build", "build DIR/KIND for the host's kind, unless it is up to date"),
        ("check", "compare a wheelhouse that was built elsewhere with the host"),
        ("wheel", "compile our own wheel, unless the one in DIR is up to date"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("directory", metavar="DIR", type=Path)
        if name != "wheel":
            command.add_argument(
                "--host",
                required=True,
                metavar="HOST.json",
                help="what probe.py printed there: a file, or the JSON itself",
            )
        if name != "check":
            command.add_argument("--source", metavar="TREE", type=Path, default=TREE, help=f"default: {TREE}")
        if name == "build":
            command.add_argument("--dry-run", action="store_true", help="only say whether it would be built")
    arguments = parser.parse_args(argv)
    try:
        directory: Path = arguments.directory.resolve()
        if arguments.command == "wheel":
            with locked(directory):
                wheel, changed = own_wheel(arguments.source.resolve(), directory)
            print(json.dumps({"wheel": str(wheel), "changed": changed}))
            return 0
        text = arguments.host if arguments.host.lstrip().startswith("{") else Path(arguments.host).read_text()
        host = Host.parse(text)
        if reasons := misfits_of_any_build(host):
            raise Refusal("\n".join(reasons))
        changed = False
        if arguments.command == "check":
            manifest: dict[str, Any] | None = load(directory)
        else:
            tree: Path = arguments.source.resolve()
            with locked(directory):
                directory /= host.directory
                manifest = up_to_date(tree, directory, host)
                changed = manifest is None
                if changed and not arguments.dry_run:
                    manifest = build(tree, directory, host)
        if manifest and (reasons := misfits(manifest, host)):
            raise Refusal("\n".join(reasons))
    except Refusal as refusal:
        print(f"{arguments.directory}: this host is refused\n{refusal}", file=sys.stderr)
        return 1
    except (Broken, OSError, ValueError) as error:
        print(f"wheelhouse.py: {error}", file=sys.stderr)
        return 2
    flavours = {
        name: {
            "release": flavour["release"],
            "archive": str(directory / flavour["archive"]),
            "size": (directory / flavour["archive"]).stat().st_size,
        }
        for name, flavour in (manifest["flavours"] if manifest else {}).items()
    }
    print(json.dumps({"directory": str(directory), "changed": changed, "flavours": flavours}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
