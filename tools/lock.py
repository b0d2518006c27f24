"""Write the lock files of what is deployed, or say where they and pyproject.toml disagree.

    lock.py           resolve anew with uv, newest versions first, and write requirements/
    lock.py --check   compare, offline; a line for each disagreement, and exit status 1 if there is one

requirements/deployed.txt holds what goes to a host beside our own wheel: the dependencies of every flavour, and pip;
requirements/build.txt holds what compiles our wheel on the controller: [build-system] and the dependency group `build`.
Offline, what packages need is known of those that are installed here in the version that is locked. Whether a version
exists, and whether a hash is that of one of its wheels, only the index can tell.

Each pin has the SHA-256 of the wheels that fit: CPython of PYTHONS on MACHINES with Linux and glibc, and no sdist.
"""

import argparse
import importlib.metadata
import itertools
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "roles/hosttune/files"))

from hosttune_wheelhouse import lock  # noqa: E402 - found through the line above
from hosttune_wheelhouse.wheels import FLAVOURS, INSTALLER  # noqa: E402

from hosttune.output import print_message, write_out  # noqa: E402

#: Those that a host may have; pyproject.toml has the oldest.
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
MACHINES = ("x86_64", "aarch64")
_HEADER = "# Written by `make lock` from pyproject.toml; not to be edited.\n"


class LockError(Exception):
    """The lock files cannot be written; the text says why."""


def list_roots(project: dict[str, Any], file: str) -> list[Requirement]:
    """Returns what a lock file has to hold at the least, by pyproject.toml."""
    if file == lock.BUILD:
        lines = [*project["build-system"]["requires"], *project["dependency-groups"]["build"]]
    else:
        extras = {extra for wanted in FLAVOURS.values() for extra in wanted}
        own = project["project"]
        lines = [
            *own["dependencies"],
            *(each for name in sorted(extras) for each in own["optional-dependencies"][name]),
        ]
        lines.append(INSTALLER)
    return [Requirement(line) for line in lines]


def compare(project: dict[str, Any], entries: list[lock.Entry], file: str) -> list[str]:
    """Returns a line for each disagreement between pyproject.toml and the entries of a lock file. Reads nothing."""
    roots, found = list_roots(project, file), []
    for python, machine in itertools.product(PYTHONS, MACHINES):
        environment = lock.describe_environment(python, machine)
        try:
            chosen = lock.select(entries, environment)
        except ValueError as error:
            found.append(f"{file}: {error}, for Python {python[0]}.{python[1]}")
            continue
        for root in roots:
            if root.marker and not root.marker.evaluate(environment):
                continue
            entry = chosen.get(canonicalize_name(root.name))
            if entry is None:
                found.append(f"{file}: {root.name} is not locked, and pyproject.toml asks for '{root}'")
            elif not root.specifier.contains(entry.version, prereleases=True):
                found.append(f"{file}: {entry.name} is locked at {entry.version}, and pyproject.toml asks for '{root}'")
    needed: set[str] = {canonicalize_name(root.name) for root in roots}
    while more := {each.name for each in entries if each.name not in needed and needed & set(each.via)}:
        needed |= more
    found += [f"{file}: nothing needs {each.name} {each.version}" for each in entries if each.name not in needed]
    return list(dict.fromkeys(found))


def compare_installed(entries: list[lock.Entry], file: str) -> list[str]:
    """Returns a line for each disagreement between the entries and what the packages of this environment say that they
    need. A package that is not installed here, or is in another version, can be compared only by name or not at all."""
    found: list[str] = []
    for entry in entries:
        needed = _list_needs(entry.name)
        if needed is None:
            continue
        names = {canonicalize_name(each.name) for each in needed}
        claimed = {each.name for each in entries if entry.name in each.via}
        found += [f"{file}: {entry.name} does not need {name}" for name in sorted(claimed - names)]
        if importlib.metadata.version(entry.name) != entry.version:
            continue
        for python, machine in itertools.product(PYTHONS, MACHINES):
            environment = lock.describe_environment(python, machine)
            if not entry.applies(environment):
                continue
            chosen = {each.name: each for each in entries if each.applies(environment)}
            for each in needed:
                name = canonicalize_name(each.name)
                if each.marker and not each.marker.evaluate(environment):
                    continue
                if name not in chosen:
                    found.append(f"{file}: {entry.name} {entry.version} needs '{each}', which is not locked")
                elif not each.specifier.contains(chosen[name].version, prereleases=True):
                    found.append(f"{file}: {entry.name} {entry.version} needs '{each}', locked: {chosen[name].version}")
    return list(dict.fromkeys(found))


def _list_needs(name: str) -> list[Requirement] | None:
    try:
        return [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    except importlib.metadata.PackageNotFoundError:
        return None


def check(root: Path) -> list[str]:
    """Returns a line for each disagreement in a tree. Raises OSError and ValueError for files that cannot be read."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    found = []
    for file in (lock.DEPLOYED, lock.BUILD):
        try:
            entries = lock.read(root / file)
            found += compare(project, entries, file) + compare_installed(entries, file)
        except FileNotFoundError:
            found.append(f"{file} is missing")
    return found


def fits(name: str) -> bool:
    """Returns whether a host of PYTHONS may use the wheel of this file name."""
    abis = {"none", "abi3", *(f"cp{major}{minor}" for major, minor in PYTHONS)}
    newest = PYTHONS[-1][1]
    return any(
        tag.abi in abis
        and (tag.platform == "any" or (tag.platform.startswith("manylinux") and tag.platform.endswith(MACHINES)))
        and (tag.interpreter in ("py3", "py2.py3") or _is_old_enough(tag.interpreter, tag.abi, newest))
        for tag in parse_wheel_filename(name)[3]
    )


def _is_old_enough(interpreter: str, abi: str, newest: int) -> bool:
    """Returns whether a CPython of PYTHONS runs what is for this one: its own, or with the stable ABI any older one."""
    if not interpreter.startswith("cp3") or not interpreter[3:].isdecimal():
        return False
    minor = int(interpreter[3:])
    return minor <= newest if abi == "abi3" else (3, minor) in PYTHONS


def resolve(root: Path, file: str) -> str:
    """Returns the text of a lock file, resolved anew. Raises LockError."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "wanted.in").write_text("".join(f"{requirement}\n" for requirement in list_roots(project, file)))
        for form in ("locked.txt", "pylock.toml"):
            _run_uv(work, "--format", form.replace("locked.txt", "requirements.txt"), "-o", form)
        packages = tomllib.loads((work / "pylock.toml").read_text())["packages"]
        entries = lock.read(work / "locked.txt")
    lines = [_HEADER]
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.version)):
        if any(entry.applies(lock.describe_environment(*each)) for each in itertools.product(PYTHONS, MACHINES)):
            lines.append(_write(entry, packages))
    return "".join(lines)


def _write(entry: lock.Entry, packages: list[dict[str, Any]]) -> str:
    wheels = [
        wheel
        for package in packages
        if canonicalize_name(package["name"]) == entry.name and package["version"] == entry.version
        for wheel in package.get("wheels", ())
        if fits(wheel.get("name") or wheel["url"].rpartition("/")[2])
    ]
    hashes = sorted({wheel["hashes"]["sha256"] for wheel in wheels})
    if not hashes or not entry.hashes.issuperset(hashes):
        raise LockError(
            f"{entry.name} {entry.version} has no wheel for CPython 3.{PYTHONS[0][1]} to 3.{PYTHONS[-1][1]}"
        )
    marker = f" ; {entry.marker}" if entry.marker else ""
    via = [name for name in entry.via if name not in ("-r", "wanted.in")]
    root = "the wheelhouse" if entry.name == INSTALLER else "pyproject.toml"
    pins = " \\\n".join([f"{entry.name}=={entry.version}{marker}", *(f"    --hash=sha256:{each}" for each in hashes)])
    return f"{pins}\n    # via {' '.join(sorted(via)) or root}\n"


def _run_uv(work: Path, *options: str) -> None:
    oldest = f"{PYTHONS[0][0]}.{PYTHONS[0][1]}"
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal",
        "--python-version", oldest, "--generate-hashes", "--no-header", *options, "wanted.in",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LockError(f"uv ended with {done.returncode}:\n{done.stderr.rstrip()}")


def main(words: Iterable[str] | None = None) -> int:
    """Write or check. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="lock.py", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="only compare with pyproject.toml, offline")
    options = parser.parse_args(None if words is None else list(words))
    try:
        if options.check:
            found = check(ROOT)
            for line in found:
                write_out(f"{line}\n")
            if found:
                print_message("the lock files and pyproject.toml disagree; `make lock` writes them anew")
            return int(bool(found))
        texts = {file: resolve(ROOT, file) for file in (lock.DEPLOYED, lock.BUILD)}
        for file, text in texts.items():
            (ROOT / file).parent.mkdir(exist_ok=True)
            (ROOT / file).write_text(text)
    except (LockError, OSError, ValueError) as error:
        print_message(f"lock.py: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
