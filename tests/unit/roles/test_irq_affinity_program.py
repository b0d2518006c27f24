"""roles/irq_affinity/files/irq_affinity.py as a module: odd refusals, and the check on what it applied."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import shutil
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
from hosttune.host import irq_plan
from hosttune.host.root import Tree as HostTree
from tests.unit.roles.irq_tree import ROLE, Tree


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


@st.composite
def hosts(draw: st.DrawFn) -> tuple[dict[str, Any], dict[int, tuple[str, str, str | None]]]:
    """A section of a profile, and interrupts: number to (handlers, CPUs, interface of the card)."""
    interfaces = ["eth0", "eth1"]
    section = {
        "housekeeping": draw(CPUS),
        "queues": {name: draw(CPUS) for name in draw(st.lists(st.sampled_from(interfaces), unique=True))},
    }
    interrupts = {}
    for number in draw(st.lists(st.integers(1, 99), unique=True, max_size=12)):
        interface = draw(st.none() | st.sampled_from(interfaces))
        actions = draw(st.sampled_from(NAMES)).format(interface or "sda", draw(st.integers(0, 11)))
        interrupts[number] = (actions, draw(CPUS), interface)
    return section, interrupts


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(hosts())
def test_the_check_is_content_with_what_was_applied(
    host: tuple[dict[str, Any], dict[int, tuple[str, str, str | None]]],
) -> None:
    section, interrupts = host
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)

        def write(path: str, text: str) -> None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

        write("etc/hosttune/profile.d/irq_affinity.yml", json.dumps({"irq_affinity": section}))
        write("sys/devices/system/cpu/possible", "0-7\n")
        write("proc/irq/default_smp_affinity", "ff\n")
        for interface in ("eth0", "eth1"):
            card = root / f"sys/devices/pci0/{interface}-card"
            (card / "msi_irqs").mkdir(parents=True)
            (card / "net" / interface).mkdir(parents=True)
            (card / "net" / interface / "device").symlink_to("../..")
            (root / "sys/class/net").mkdir(parents=True, exist_ok=True)
            link = root / "sys/class/net" / interface
            link.symlink_to(f"../../devices/pci0/{interface}-card/net/{interface}")
        table = "      CPU0\n"
        for number, (actions, cpus, interface) in interrupts.items():
            write(f"proc/irq/{number}/smp_affinity_list", cpus + "\n")
            write(f"sys/kernel/irq/{number}/actions", actions + "\n")
            table += f"{number}: 0 PCI-MSI {number}-edge {actions}\n"
            if interface:
                write(f"sys/devices/pci0/{interface}-card/msi_irqs/{number}", "")
        write("proc/interrupts", table)
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
            patch.setattr(program, "ROOT", directory)
            assert program.main(["apply"]) == 0
            said.truncate(0)
            assert program.main(["check"]) == 0
        assert "wrong" not in said.getvalue()
        for number in interrupts:  # as it is at once with interrupt remapping
            shutil.copy(
                root / f"proc/irq/{number}/smp_affinity_list", root / f"proc/irq/{number}/effective_affinity_list"
            )
        wanted = msgspec.convert(section, irq_affinity.Section)
        found = irq_affinity.check(wanted, irq_affinity.facts(HostTree(directory), wanted), None)
        runtime = {finding.id: finding.hops["runtime"] for finding in found}
        actions = {number: name for number, (name, _, _) in interrupts.items()}
        for interface in section["queues"]:
            card = {number for number, (_, _, owner) in interrupts.items() if owner == interface}
            # An interface none of whose queues is in use cannot be judged.
            judged = bool(irq_plan.find_queue_irqs(interface, card, actions))
            assert runtime.pop(f"irq_affinity.queues.{interface}").state == ("ok" if judged else "unknown")
        assert {id: hop for id, hop in runtime.items() if hop.state != "ok"} == {}
