"""What is attached to devices, by netlink, and that a fix of the check turns it: in a network namespace with tc."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from hosttune.checks import tcp_bbr
from hosttune.findings import Finding
from hosttune.host.root import Fact, Live

from .namespaces import run_apart

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
    pytest.mark.skipif(shutil.which("tc") is None, reason="there is no tc here (package iproute2)"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="the kernel has no TAP devices"),
]
#: Of every kernel with queueing disciplines.
WANTED = tcp_bbr.Section(qdisc="pfifo_fast", require_fq=True)


class Driven(Live):
    """This machine as if there were a driver behind each of its network devices."""

    def link(self, path: str) -> Fact[str]:
        return Fact("value", "../x", path) if path.startswith("/sys/class/net/") else super().link(path)


def run(commands: str) -> None:
    subprocess.run(["/bin/sh", "-c", commands], check=True, timeout=20)


def judge(device: str) -> Finding | None:
    found = tcp_bbr.check(WANTED, tcp_bbr.facts(Driven(), WANTED), None)
    return next((one for one in found if one.id == f"tcp_bbr.qdisc.{device}"), None)


def check_devices() -> None:
    run("ip link add vx0 type veth peer name vx1; ip link set vx0 up; ip link set vx1 up")
    run("ip tuntap add tx0 mode tap multi_queue; ip link set tx0 up")
    without = judge("vx0")
    assert without is not None and (without.status, without.found) == ("na", "no queue: the driver sends at once")
    queues = judge("tx0")
    assert queues is not None and (queues.status, queues.found) == ("pass", "mq with pfifo_fast")

    for device, broken, found in (
        ("vx0", "tc qdisc replace dev vx0 root bfifo", "bfifo"),
        (
            "tx0",
            "tc qdisc replace dev tx0 root handle 1: mq; tc qdisc replace dev tx0 parent 1:1 bfifo",
            "mq with bfifo",
        ),
        ("tx0", "tc qdisc replace dev tx0 root bfifo", "bfifo"),
    ):
        run(broken)
        bad = judge(device)
        assert bad is not None and (bad.status, bad.found) == ("fail", found)
        # The key of the default belongs to the first namespace: it is right already, and not here.
        run("\n".join(line for line in bad.fix.splitlines() if not line.startswith("sysctl ")))
        good = judge(device)
        assert good is not None and good.status == "pass", good

    run("ip link set vx1 down; tc qdisc delete dev vx1 root 2>/dev/null || true")
    down = judge("vx1")
    assert down is None or down.status == "na"


@pytest.mark.skipif(
    (Live().read("/proc/sys/net/core/default_qdisc").value or "").strip() != "pfifo_fast",
    reason="the default qdisc of this machine is another one than pfifo_fast",
)
def test_devices_are_judged_by_what_is_attached_and_a_fix_turns_them() -> None:
    run_apart(check_devices)
