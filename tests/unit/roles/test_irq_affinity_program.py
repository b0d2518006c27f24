"""roles/irq_affinity/files/irq_affinity.py as a module: odd refusals, and the check on what it applied."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import re
import subprocess
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.checks import irq_affinity
from hosttune.findings import Finding
from hosttune.host import cpulist
from hosttune.host.root import Tree as HostTree
from tests.examples import TIMES
from tests.unit.roles.hosts import make_host
from tests.unit.roles.irq_tree import ROLE, Tree
from tests.unit.roles.plans import irq_affinity_plan


def load_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("irq_affinity", ROLE / "files/irq_affinity.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = load_program()


def test_an_unusual_refusal_is_shown(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {1: errno.ENOSPC, 24: errno.EIO, 31: errno.EPERM, 33: errno.EINVAL}
    real = program.put

    def put(path: str, value: str) -> None:
        number = int(path.split("/")[3]) if path.endswith("_list") else 0
        if number in errors:
            raise OSError(errors[number], os.strerror(errors[number]))
        real(path, value)

    monkeypatch.setattr(program, "ROOT", str(tree.root))
    monkeypatch.setattr(program, "put", put)
    assert program.main(["apply"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # No vector is left on these CPUs.
    assert "failed: irq 1 (i8042): 0-3 -> 0,1 (ENOSPC: these CPUs have no interrupt vector left)" in lines
    offline = "none of these CPUs is online, or there is none of this number"
    assert f"failed: irq 33 (virtio1-input.1): 3 -> 1 (EINVAL: {offline})" in lines
    held = "the kernel keeps this interrupt where it is: it is managed, of one CPU, or cannot be moved"
    assert f"kept: irq 24 (virtio0-req.0): 2 -> 0,1 (EIO: {held})" in lines
    assert f"kept: irq 31 (eth0-rxtx-0): 0-1 -> 1 (EPERM: {held})" in lines


CPUS = st.lists(st.integers(0, 7), min_size=1, max_size=4).map(lambda cpus: ",".join(map(str, cpus)))
NAMES = [
    "{}-rxtx-{}",
    "{}-TxRx-{}",
    "virtio{1}-input.{1}",
    "virtio{1}-config",
    "{}",
    "mlx5_async{1}@pci:0",
    "nvme0q{1}",
]


Interrupts = dict[int, tuple[str, str, str | None]]
# In memory, as /proc and /sys are.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ONLINE, PROC = "/sys/devices/system/cpu/online", "/proc/irq"


@st.composite
def hosts(draw: st.DrawFn) -> tuple[dict[str, Any], Interrupts, frozenset[int]]:
    """A section of a profile; interrupts, number to (handlers, CPUs, interface of the card); CPUs that are online."""
    interfaces = ["eth0", "eth1"]
    section = {
        "housekeeping": draw(CPUS),
        "queues": {name: draw(CPUS) for name in draw(st.lists(st.sampled_from(interfaces), unique=True))},
    }
    interrupts = {}
    for number in draw(st.lists(st.integers(1, 99), unique=True, max_size=12)):
        interface = draw(st.none() | st.sampled_from(interfaces))
        actions = draw(st.sampled_from(NAMES)).format(interface or "sda", draw(st.integers(0, 11)))
        interrupts[number] = (actions, draw(CPUS), None if actions.startswith("nvme") else interface)
    return section, interrupts, draw(st.just(frozenset(range(8))) | st.frozensets(st.integers(0, 7), min_size=1))


class Kernel:
    """A tree with interrupts that are moved, and refuse to be, as the kernel has it."""

    def __init__(self, root: Path, section: dict[str, Any], interrupts: Interrupts, online: frozenset[int]) -> None:
        self.root, self.section, self.interrupts = root, section, interrupts
        self.managed = {number for number, (actions, _, _) in interrupts.items() if re.match("nvme0q[1-9]", actions)}
        self.write("/etc/hosttune/profile.d/irq_affinity.yml", json.dumps({"irq_affinity": section}))
        self.write("/sys/devices/system/cpu/possible", "0-7\n")
        for number in range(8):
            self.write(f"/sys/devices/system/cpu/cpu{number}/online", f"{int(number in online)}\n")
        self.write(f"{PROC}/default_smp_affinity", "ff\n")
        (root / "sys/class/net").mkdir(parents=True)
        for interface in ("eth0", "eth1"):
            card = root / f"sys/devices/pci0/{interface}-card"
            (card / "msi_irqs").mkdir(parents=True)
            (card / "net" / interface).mkdir(parents=True)
            (card / "net" / interface / "device").symlink_to("../..")
            link = root / "sys/class/net" / interface
            link.symlink_to(f"../../devices/pci0/{interface}-card/net/{interface}")
        table = "      CPU0\n"
        for number, (actions, cpus, owner) in interrupts.items():
            self.write(f"{PROC}/{number}/smp_affinity_list", cpus + "\n")
            self.write(f"/sys/kernel/irq/{number}/actions", actions + "\n")
            table += f"{number}: 0 PCI-MSI {number}-edge {actions}\n"
            if owner:
                self.write(f"/sys/devices/pci0/{owner}-card/msi_irqs/{number}", "")
        self.write("/proc/interrupts", table)
        self.deliver()

    @property
    def online(self) -> frozenset[int]:
        paths = {number: self.root / f"sys/devices/system/cpu/cpu{number}/online" for number in range(8)}
        return frozenset(number for number, path in paths.items() if path.read_text() == "1\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path[1:]).write_text(text)

    def put(self, path: str, value: str) -> None:
        if path.endswith("_list"):
            if int(path.split("/")[3]) in self.managed:
                raise OSError(errno.EIO, "managed")
            if not cpulist.parse(cpulist.KernelList(value)) & self.online:
                raise OSError(errno.EINVAL, "none is online")
        self.write(path, value + "\n")

    def deliver(self) -> None:
        """Send each interrupt where it may go, as it is at once with interrupt remapping."""
        self.write(ONLINE, cpulist.show(self.online) + "\n")
        for number in self.interrupts:
            folder = self.root / f"proc/irq/{number}"
            cpus = cpulist.parse(cpulist.KernelList((folder / "smp_affinity_list").read_text()))
            (folder / "effective_affinity_list").write_text(cpulist.show(cpus & self.online or cpus) + "\n")

    def run(self, command: str) -> list[str]:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
            patch.setattr(program, "ROOT", str(self.root))
            patch.setattr(program, "put", self.put)
            assert program.main([command]) == 0
        self.deliver()
        return said.getvalue().splitlines()

    def check(self) -> dict[str, Finding]:
        wanted = msgspec.convert(self.section, irq_affinity.Section)
        found = irq_affinity.check(wanted, irq_affinity.facts(HostTree(str(self.root)), wanted), None)
        return {finding.id.removeprefix("irq_affinity."): finding for finding in found}

    def find_wrong(self) -> dict[str, Finding]:
        """Returns what the check does not find in place now, but for what it knows that nobody can move."""
        return {
            name: finding
            for name, finding in self.check().items()
            if finding.hops["runtime"].state != "ok"
            and not (finding.status == "warn" and int(name.removeprefix("irq.")) in self.managed)
            # An interface none of whose queues is in use cannot be judged.
            and not (name.startswith("queues.") and finding.hops["runtime"].state == "unknown")
        }


def is_refused(kernel: Kernel) -> bool:
    """Tells whether the role refuses the plan before it changes anything, for CPUs that are offline."""
    host = make_host("0-7", **{ONLINE: cpulist.show(kernel.online)})
    try:
        irq_affinity_plan.plan(kernel.section["housekeeping"], kernel.section["queues"], "banned", host)
    except ValueError as error:
        assert "is offline" in str(error)
        return True
    return False


@settings(max_examples=30 * TIMES, suppress_health_check=[HealthCheck.too_slow])
@given(hosts())
def test_the_check_is_content_with_what_was_applied(host: tuple[dict[str, Any], Interrupts, frozenset[int]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        kernel = Kernel(Path(directory), *host)
        if is_refused(kernel):
            return
        first = kernel.run("apply")
        assert not [line for line in first if line.startswith(("failed", "missing"))]
        assert not [line for line in kernel.run("check") if line.startswith("wrong")]
        assert kernel.find_wrong() == {}
        assert not [line for line in kernel.run("apply") if line.startswith("changed")]


def follow(kernel: Kernel, finding: Finding) -> set[int]:
    """Run a finding's commands in the tree. Returns the interrupts that they write to."""
    lines = [line for line in finding.fix.splitlines() if line.startswith(("echo ", "for i in "))]
    assert lines, (finding.id, finding.fix)
    script = re.sub("> (/proc|/sys)", lambda match: f"> {kernel.root}{match[1]}", "\n".join(lines))
    subprocess.run(["sh", "-euc", script], check=True)
    numbers = re.findall(r"/proc/irq/(\d+)/", finding.fix)
    numbers += re.findall(r"^for i in ([\d ]+); do echo \d+ > /proc", finding.fix, re.MULTILINE)
    written = {int(number) for text in numbers for number in text.split()}
    for number in written:  # the kernel would have taken it
        assert number not in kernel.managed
        text = (kernel.root / f"proc/irq/{number}/smp_affinity_list").read_text()
        assert cpulist.parse(cpulist.KernelList(text)) & kernel.online
    return written


@settings(max_examples=30 * TIMES, suppress_health_check=[HealthCheck.too_slow])
@given(hosts())
def test_each_command_of_the_check_turns_its_finding_and_the_role_leaves_it(
    host: tuple[dict[str, Any], Interrupts, frozenset[int]],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        kernel = Kernel(Path(directory), *host)
        written: set[int] = set()
        while wrong := kernel.find_wrong():
            for finding in wrong.values():
                written |= follow(kernel, finding)
            kernel.deliver()
            # A CPU that is online again may get interrupts that it had before, and they are found then.
            assert not wrong.keys() & kernel.find_wrong().keys()
        if not is_refused(kernel):
            changed = [line for line in kernel.run("apply") if line.startswith("changed: irq")]
            assert not written & {int(line.split()[2]) for line in changed}
            assert kernel.find_wrong() == {}
