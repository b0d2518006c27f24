"""Compile our wheel, and make a wheelhouse for a kind of host, as a whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import stat
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from hosttune_wheelhouse import lock, manifests, sbom
from hosttune_wheelhouse.fit import Host, Refusal, dotless, dotted, version
from hosttune_wheelhouse.wheels import (
    FLAVOURS,
    INSTALLER,
    Broken,
    built_for,
    closure,
    download,
    glibc_floor,
    metadata,
    needs,
    run,
    sha256,
    wheel_version,
)

FORMAT = 2
MANIFEST = "wheelhouse.json"
SOURCES = (
    "pyproject.toml", "meson.build", "meson.options", "tools/wheel_files.py", "hosttune", "agent", "desk",
    lock.DEPLOYED, lock.BUILD,
)  # fmt: skip
BUILD_ONLY = ("LICENSE", "README.md")  # the build wants them, but they change nothing that runs
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", ".*")


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


def require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise Broken(f"{sys.executable} has no pip: install the project's dependency group `controller` there")


def build_tools(tree: Path, directory: Path) -> Path:
    """The programs that compile our wheel, of exactly the files that the lock names, whatever this environment has.

    They are kept in `directory` until the lock changes; it is locked. Returns the directory of the programs.
    """
    locked_files = tree / lock.BUILD
    name = f"tools-cp{dotless(sys.version_info[:2])}-{sha256(locked_files)[:16]}"
    kept = directory / name
    if not (kept / ".complete").is_file():
        for old in directory.glob("tools-*"):
            shutil.rmtree(old)
        run(sys.executable, "-m", "venv", "--without-pip", str(kept))
        # fmt: off
        run(sys.executable, "-m", "pip", "--python", str(kept / "bin/python"), "install", "--no-deps",
            "--require-hashes", "--only-binary=:all:", "-r", str(locked_files))
        # fmt: on
        (kept / ".complete").touch()
    return kept / "bin"


def own_wheel(tree: Path, directory: Path) -> tuple[Path, bool]:
    """Our wheel of these sources, kept in `directory` for every kind of host; and whether it had to be compiled."""
    if not (tree / "pyproject.toml").is_file():
        raise Broken(
            f"{tree} is not the project's source tree: set hosttune_source to a checkout, "
            "or hosttune_wheelhouse to a directory that was built from one"
        )
    require_pip()
    kept = directory / f"own-{sources_digest(tree)[:16]}"
    missing = not kept.is_dir()
    if missing:
        with tempfile.TemporaryDirectory(prefix=".wheel-", dir=directory) as temporary:
            new = build_own(tree, Path(temporary), build_tools(tree, directory)).parent
            for old in directory.glob("own-*"):
                shutil.rmtree(old)
            new.rename(kept)
    (wheel,) = kept.glob("*.whl")
    return wheel, missing


def build_own(tree: Path, work: Path, programs: Path) -> Path:
    """Compile our wheel from a copy of the sources; name the glibc and the oldest Python that it runs on."""
    copy = work / "sources"
    for path in files_of(tree, SOURCES + BUILD_ONLY):
        (copy / path.relative_to(tree)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy / path.relative_to(tree))
    python = str(programs / "python")
    # fmt: off
    run(sys.executable, "-m", "pip", "--python", python, "wheel", "--no-deps", "--no-build-isolation",
        "-w", str(work / "built"), str(copy), programs=programs)
    # fmt: on
    (built,) = (work / "built").glob("*.whl")
    run(python, "-m", "auditwheel", "repair", "-w", str(work / "own"), str(built), programs=programs)
    (own,) = (work / "own").glob("*.whl")
    # meson-python's tag is the Python that ran it. Modules of the limited API run on every later one too,
    # and ours are compiled for the oldest that the project supports.
    oldest = re.search(r">=\s*([\d.]+)", metadata(own).get("requires-python", [""])[0])
    if oldest and (python_tag := f"cp{dotless(version(oldest[1]))}") != own.name.split("-")[2]:
        run(python, "-m", "wheel", "tags", "--remove", "--python-tag", python_tag, str(own), programs=programs)
        (own,) = (work / "own").glob("*.whl")
    return own


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
        project, release = parse_wheel_filename(own.name)[:2]
        wheels = {**download(lock.read(tree / lock.DEPLOYED), host, work / "wheels"), project: own}
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
            pack(new, flavour, [wheels[name] for name in (*flavour["packages"], INSTALLER)], manifest)
            flavour["sha256"] = sha256(new / flavour["archive"])
        (new / sbom.FILE).write_text(list_parts(wheels, str(project), host))
        # Not in the archives, whose manifest is written before.
        manifest["files"] = {sbom.FILE: sha256(new / sbom.FILE)}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if directory.exists():
            directory.rename(work / "old")
        new.rename(directory)
    return manifest


def list_parts(wheels: dict[str, Path], project: str, host: Host) -> str:
    """The bill of materials of these wheels."""
    environment = lock.describe_environment(host.python, host.machine)
    extras = tuple(sorted({extra for wanted in FLAVOURS.values() for extra in wanted}))

    def describe(name: str, extras: tuple[str, ...] = ()) -> sbom.Part:
        wheel = wheels[name]
        needed = sorted({canonicalize_name(each.name) for each in needs(wheel, extras, environment)})
        return sbom.Part(name, wheel_version(wheel), wheel.name, sha256(wheel), metadata(wheel), tuple(needed))

    others = [describe(name) for name in sorted(wheels) if name != project]
    return sbom.write(describe(project, extras), others, os.environ.get("SOURCE_DATE_EPOCH"))


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
    """Read a manifest; raise Broken if there is none, it is of another format, or a file is not what was built."""
    path = directory / MANIFEST
    try:
        manifest = manifests.parse(manifests.read_text(path), str(path), FORMAT)
    except FileNotFoundError:
        raise Broken(f"{directory} is not a wheelhouse: it has no {MANIFEST}") from None
    except ValueError as error:
        raise Broken(str(error)) from None
    wanted = {flavour["archive"]: flavour["sha256"] for flavour in manifest["flavours"].values()}
    for name, digest in (wanted | manifest.get("files", {})).items():
        file = directory / name
        if not stat.S_ISREG(file.lstat().st_mode if os.path.lexists(file) else 0):
            raise Broken(f"{directory} lacks {name}: build it again")
        if sha256(file) != digest:
            raise Broken(f"{file} is not what was built, by its SHA-256: build it again")
    return manifest


def up_to_date(tree: Path, directory: Path, host: Host) -> dict[str, Any] | None:
    with contextlib.suppress(Broken):
        manifest = load(directory)
        if manifest["sources"] == sources_digest(tree, host):
            return manifest
    return None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Several hosts of a play may ask for the same wheelhouse at once; the first builds it.

    Raises Broken for a directory that its group or others can write to: what is in it runs here and on the hosts.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid not in (0, os.geteuid(), int(os.environ.get("SUDO_UID", 0))) or found.st_mode & 0o022:
        raise Broken(
            f"{directory}: found a directory of user {found.st_uid} with mode {found.st_mode & 0o7777:04o}, "
            "allowed: one of your own that others cannot write to"
        )
    # Neither through a link nor with O_TRUNC: whoever made the name does not choose a file that is emptied.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(directory / ".lock", flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Broken(f"{directory}/.lock: found something else than a regular file: remove it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
