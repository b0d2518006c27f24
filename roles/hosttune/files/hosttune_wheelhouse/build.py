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
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from hosttune_wheelhouse.fit import Host, Refusal, dotless, dotted, version
from hosttune_wheelhouse.wheels import (
    FLAVOURS,
    Broken,
    built_for,
    closure,
    download,
    glibc_floor,
    metadata,
    run,
    sha256,
    wheel_version,
)

FORMAT = 1
MANIFEST = "wheelhouse.json"
SOURCES = ("pyproject.toml", "meson.build", "meson.options", "tools/wheel_files.py", "hosttune", "agent")
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
