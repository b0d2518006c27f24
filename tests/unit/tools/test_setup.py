"""tools/setup installs every program that the tests start on this machine, and every one that testhost needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from testhost import requirements

ROOT = Path(__file__).resolve().parents[3]
#: A program that a test starts, and the Debian package that has it.
PACKAGES = {"cc": "gcc", "gcc": "gcc", "rustc": "rustc", "strace": "strace", "ssh": "openssh-client"}
PACKAGES |= {"systemd-escape": "systemd", "systemd-analyze": "systemd", "systemd-tmpfiles": "systemd", "ip": "iproute2"}
PACKAGES |= {"tc": "iproute2", "sysctl": "procps", "modprobe": "kmod", "depmod": "kmod"}
PACKAGES |= {"nm": "binutils"}
#: Packages that every Debian has (Essential: yes, or what those need), and make, which runs tools/setup.
BASE = {"bash", "coreutils", "dash", "make", "tar", "util-linux"}
PACKAGES |= {"make": "make", "grub-script-check": "grub-common"}
PACKAGES |= dict.fromkeys(["cat", "mkfifo", "sleep", "stdbuf", "true", "touch"], "coreutils")
# tools/setup unpacks these, and installs them nowhere: their daemons would run, and irqbalance move interrupts.
PACKAGES |= {"irqbalance": "irqbalance", "redis-server": "redis-server", "prometheus": "prometheus"}
PACKAGES |= {"openssl": "openssl"}
PACKAGES |= {"promtool": "prometheus", "redis-cli": "redis-tools", "redis-benchmark": "redis-tools"}
PACKAGES |= dict.fromkeys(["chrt", "nsenter", "prlimit", "setpriv", "taskset", "unshare"], "util-linux")
PACKAGES |= {"sh": "dash", "bash": "bash", "mount": "mount", "qemu-system-x86_64": "qemu-system-x86"}
#: Its tests start programs in the guest, which the image holds.
GUEST = ROOT / "tests/testinfra"
UNPACKED = re.compile(r"^ +unpack \S+ \S+ (.+)", re.M)
STARTERS = {"run", "Popen", "check_call", "check_output", "call", "which"}


def read_setup() -> set[str]:
    """The packages that tools/setup installs for `make test`."""
    text = (ROOT / "tools/setup").read_text().partition('"$level" = bench')[0]
    needed = re.findall(r"\bneed \S+ ([^#;{}\n]+)", text)
    guests = (ROOT / "tools/vm-packages").read_text()
    return {package for line in (*needed, guests) for package in line.split()}


def first_word(node: ast.expr, lists: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The program in an argument of subprocess.run() and its like, also where a name stands for the list."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.List | ast.Tuple) and node.elts:
        inner = node.elts[0]
        if isinstance(inner, ast.Constant):  # not a path that is worked out, nor words that a caller adds
            yield from first_word(inner, lists)
    elif isinstance(node, ast.Name):
        for value in lists.get(node.id, []):
            if isinstance(value, ast.List | ast.Tuple):
                yield from first_word(value, {})


def programs(source: str) -> set[str]:
    """The programs that a test module names where it starts one or looks for one."""
    tree = ast.parse(source)
    finds = re.search(r"^from \S*\bprograms import .*\bfind_program\b", source, re.M)  # of tests/unit/desk
    lists: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    lists.setdefault(target.id, []).append(node.value)
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        owner = (
            function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
        )
        if finds and isinstance(function, ast.Name) and function.id == "find_program":
            found.update(first_word(node.args[0], lists))
        if owner in ("subprocess", "shutil") and isinstance(function, ast.Attribute) and function.attr in STARTERS:
            found.update(first_word(node.args[0], lists))
        for keyword in node.keywords:
            if keyword.arg == "prefix" and isinstance(
                keyword.value, ast.List | ast.Tuple
            ):  # of tests/live/test_launch.py: what its launcher is started by
                found.update(first_word(keyword.value, lists))
    return {Path(word).name for word in found}


def test_a_program_is_found_however_it_is_started() -> None:
    source = """
from ..programs import Program, find_program
command = ["one", "x"]
subprocess.run(command)
subprocess.Popen(["/usr/bin/two", x])
shutil.which("three")
refused(prefix=("four", "--x"))
more: list[str] = [*prefix, "y"]
subprocess.run([sys.executable, "five"])
find_program("six")
"""
    assert programs(source) == {"one", "two", "three", "four", "six"}


def test_setup_installs_what_the_tests_start() -> None:
    unpacked = UNPACKED.findall((ROOT / "tools/setup").read_text())
    there = read_setup() | BASE | {package for line in unpacked for package in line.split()}
    lacking = {
        f"{path.relative_to(ROOT)}: {word} ({PACKAGES.get(word, 'package unknown: add it to PACKAGES')})"
        for path in (ROOT / "tests").rglob("*.py")
        if GUEST not in path.parents
        for word in programs(path.read_text())
        if PACKAGES.get(word) not in there
    }
    assert not lacking


def test_setup_installs_what_the_guests_need() -> None:
    wanted = requirements.BUILD | requirements.BUILD_UNPRIVILEGED | requirements.RUN
    assert set(wanted.values()) <= read_setup() | BASE
