"""How sysctl.d is read and what the kernel takes of a value, against systemd-sysctl, procps and this kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.host import sysctl, sysctl_lines, sysctl_values
from hosttune.host.root import Fact, Live

from .namespaces import run_apart

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]
SYSTEMD = next((path for path in ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
                if os.path.exists(path)), None)  # fmt: skip
PROCPS = shutil.which("sysctl", path="/usr/sbin:/sbin:/usr/bin")

#: A file of each handler that a network or IPC namespace has for itself: how many numbers, the least, the most.
FILES = {
    "net/ipv4/udp_rmem_min": (1, 1, (1 << 31) - 1),  # proc_dointvec_minmax
    "net/ipv4/tcp_rmem": (3, 1, (1 << 31) - 1),
    "net/ipv4/tcp_slow_start_after_idle": (1, 0, 255),  # proc_dou8vec_minmax
    "net/core/somaxconn": (1, 0, (1 << 31) - 1),
    "kernel/shmmax": (1, 0, (1 << 64) - 1),  # proc_doulongvec_minmax
}
PIECES = st.sampled_from(
    [
        *("0x", "0X", "0", "-", "+", "_", "1", "7", "8", "9", "f", "12", "4096", "0" * 18, "000", ".", ",", "e", "M"),
        *(" ", "\t", "\n", "\v", "\f", "\r", "\0", "#", "x", "é", "１", " " * 4080),
    ]
)
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def write(key: str, value: bytes) -> bool:
    """Write to a file below /proc/sys as the programs do, and return whether the kernel took it."""
    descriptor = os.open(f"/proc/sys/{key}", os.O_WRONLY)
    try:
        os.write(descriptor, value + b"\n")
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def show(key: str) -> list[int]:
    return [int(word) for word in Path("/proc/sys", key).read_text().split()]


def test_the_kernel_reads_numbers_as_we_do() -> None:
    @settings(SETTINGS, max_examples=3000)
    @given(st.lists(PIECES, max_size=7).map("".join))
    def compare(text: str) -> None:
        for key, (count, least, most) in FILES.items():
            base = [max(least, 1)] * count
            assert write(key, " ".join(map(str, base)).encode())
            taken = write(key, text.encode())
            numbers = sysctl_values.read_numbers(text, count)
            if taken:
                if "-0" in text:  # which only files that may hold negative numbers take, and nobody writes
                    continue
                assert numbers is not None, (key, text)
                assert show(key) == numbers + base[len(numbers) :], (key, text)
            else:
                assert numbers is None or not all(least <= one <= most for one in numbers), (key, text)

    run_apart(compare)


KEYS = st.sampled_from(
    [
        *("net.ipv4.udp_rmem_min", "net/ipv4/udp_rmem_min", "net.ipv4.udp_wmem_min", "net.ipv4.udp_*_min"),
        *("net.*.udp_rmem_min", "net/ipv4/udp_[^w]mem_min", "net.ipv4.udp_[!r]mem_min", "net.ipv4.udp_?mem_min"),
        *("net//ipv4/./udp_rmem_min", "net..ipv4.udp_rmem_min", "net.ipv4/udp_rmem_min", "/net/ipv4/udp_rmem_min"),
        *("net.ipv4.udp_rmem_minx", "net.ipv4.udp", "", " ", "net.core.somaxconn", "net.ipv4.UDP_rmem_min"),
    ]
)
VALUES = st.sampled_from(
    [
        *(
            "4097",
            "4098",
            "0x1003",
            "010004",
            "5_000",
            "+5000",
            "5000 # c",
            "5000;",
            "５０００",
            '"5000"',
            "5000\\",
            "",
        ),
        *(
            "5000 6000",
            "0b11",
            "4099\t",
            "\v5001",
            "99999999999",
            "-1",
            "=5002",
            "5003=",
            "5004 \xff".encode().decode(),
        ),
    ]
)
STARTS = st.sampled_from(["", "", "", "", "-", "#", ";", "  ", "- ", "\t", "--"])
BETWEEN = st.sampled_from(["=", "=", " = ", "\t=\t", "  =", " ", ":", ""])
LINE = st.tuples(STARTS, KEYS, BETWEEN, VALUES).map("".join)
# Not read alike by procps, and written by nobody: it drops two of `--`, a space after `-` belongs to its key, a glob
# overrules a key that is written with a separator too many; it reads `.9.conf` as well.
ODD = ("- ", "--", "//", "..", "/net", ".9.conf")
PLACES = st.tuples(
    st.sampled_from(["/etc", "/usr/local/lib", "/usr/lib"]),
    st.sampled_from(["10.conf", "50-x.conf", ".9.conf", "9.txt"]),
)
SHOWN = ("net/ipv4/udp_rmem_min", "net/ipv4/udp_wmem_min", "net/core/somaxconn")
BASE = 4096


def find_set(facts: sysctl.Sysctls, key: str) -> int:
    """Returns what we say that a key is set to, BASE if no line sets it."""
    for line in sysctl_lines.find_written(facts.boot.value or [], key):
        numbers = sysctl_values.read_numbers(str(line.value), 1)
        if numbers is not None and 1 <= numbers[0] < 1 << 31:
            return numbers[0]
    return BASE


class ProcpsHost(Live):
    """This machine as if the init script of procps applied sysctls at boot."""

    def list(self, path: str) -> Fact[Any]:
        return Fact("value", ["procps"], path) if path == "/etc/init.d" else super().list(path)

    def link(self, path: str) -> Fact[str]:
        return Fact("absent", None, path, "not a symbolic link") if path == "/sbin/init" else super().link(path)


def compare_program(command: list[str], root: Live, ends: list[str], leave_out: tuple[str, ...] = ()) -> None:
    """Have a program read generated files, and compare what it sets with what we say."""

    lines = LINE.filter(lambda line: not any(odd in line for odd in leave_out))
    places = PLACES.filter(lambda place: place[1] not in leave_out)

    @SETTINGS
    @given(
        st.dictionaries(places, st.lists(st.tuples(lines, st.sampled_from(ends)), max_size=5), max_size=4),
        st.lists(st.tuples(lines, st.just("\n")), max_size=3),
        st.booleans(),
    )
    def compare(files: Any, last: Any, masked: bool) -> None:
        written = [Path(top, "sysctl.d", name) for top, name in files]
        for path, lines in zip(written, files.values(), strict=True):
            path.write_bytes("".join(line + end for line, end in lines).encode())
        if masked:
            written.append(Path("/etc/sysctl.d/50-x.conf"))
            written[-1].unlink(missing_ok=True)
            written[-1].symlink_to("/dev/null")
        Path("/etc/sysctl.conf").write_text("".join(line + end for line, end in last))
        for key in SHOWN:
            assert write(key, str(BASE).encode())
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=20)
        facts = sysctl.read(root, SHOWN)
        found, ours = {key: show(key)[0] for key in SHOWN}, {key: find_set(facts, key) for key in SHOWN}
        for path in written:
            path.unlink(missing_ok=True)
        assert found == ours, (files, last, masked, facts.boot)

    def apart() -> None:
        Path("/etc/sysctl.d").mkdir()
        compare()

    run_apart(apart, ["/run", "/etc", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"])


@pytest.mark.skipif(SYSTEMD is None, reason="there is no systemd-sysctl here")
def test_systemd_sysctl_sets_what_we_say() -> None:
    compare_program([str(SYSTEMD)], Live(), ["\n", "\n", "\r\n", "\r", "\n\r", "\n\n"])  # a NUL makes a file unreadable


@pytest.mark.skipif(PROCPS is None, reason="there is no sysctl of procps here")
def test_procps_sets_what_we_say() -> None:
    compare_program([str(PROCPS), "-q", "--system"], ProcpsHost(), ["\n", "\n", "\r\n", "\n\n"], ODD)
