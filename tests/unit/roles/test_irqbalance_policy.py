"""The policy script of the role irq_affinity: what irqbalance is told about an interrupt of a device."""

from __future__ import annotations

import shlex
import subprocess

import jinja2
import pytest

from hosttune.host.irq_unit import parse_settings
from tests.unit.roles.irq_tree import PROFILE, ROLE, Tree


def policy(tree: Tree, device: str, number: int) -> str:
    """What irqbalance is told about an interrupt of a device."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["quote"] = shlex.quote
    template = environment.from_string((ROLE / "templates/irqbalance_policy.sh.j2").read_text())
    script = template.render(irq_affinity_queues=parse_settings(PROFILE)["queues"])
    run = subprocess.run(["sh", "-c", script, "policy", device, str(number)], env={"HOSTTUNE_ROOT": str(tree.root)},
                         capture_output=True, text=True, timeout=20, check=True)  # fmt: skip
    assert run.stderr == ""
    return run.stdout


def test_irqbalance_keeps_off_the_interrupts_of_named_interfaces(tree: Tree) -> None:
    device = "/sys/devices/pci/0000:00:01.0"
    tree.write(f"{device}/class", "0x020000\n")
    tree.write(f"{device}/net/eth0/mtu", "1500\n")
    virtio = "/sys/devices/pci/0000:00:05.0"
    tree.write(f"{virtio}/class", "0x020000\n")
    tree.write(f"{virtio}/virtio1/net/ens1f0/mtu", "1500\n")
    assert [policy(tree, device, n) for n in (31, 32)] == ["ban=true\n"] * 2
    assert policy(tree, virtio, 33) == "ban=true\n"
    other = "/sys/devices/pci/0000:00:06.0"
    tree.write(f"{other}/class", "0x020000\n")
    tree.write(f"{other}/net/eth7/mtu", "1500\n")
    assert policy(tree, other, 40) == "ban=false\n"
    assert policy(tree, "/sys", 9) == "ban=false\n"


def test_a_card_without_message_signalled_interrupts(tree: Tree) -> None:
    """Its one interrupt is in the file `irq`; that of the bridge above it is another's."""
    device = "/sys/devices/pci/0000:00:07.0"
    tree.write(f"{device}/class", "0x020000\n")
    tree.write(f"{device}/irq", "45\n")
    tree.write("/sys/devices/pci/irq", "46\n")
    tree.write(f"{device}/net/eth0/mtu", "1500\n")
    (tree.root / "sys/class/net/eth0/device/msi_irqs/31").unlink()
    (tree.root / "sys/class/net/eth0/device/msi_irqs/32").unlink()
    (tree.root / "sys/class/net/eth0/device/msi_irqs").rmdir()
    (tree.root / "sys/class/net/eth0/device").rmdir()
    (tree.root / "sys/class/net/eth0/device").symlink_to(tree.root / device[1:])
    assert [policy(tree, device, number) for number in (45, 46)] == ["ban=true\n", "ban=false\n"]


@pytest.mark.parametrize(("kind", "told"), [("0x020000", "ban=true\n"), ("0x010802", "ban=false\n")])
def test_irqbalance_keeps_off_a_card_whose_interface_is_not_there_yet(tree: Tree, kind: str, told: str) -> None:
    device = "/sys/devices/pci/0000:00:01.0"
    tree.write(f"{device}/class", f"{kind}\n")
    tree.write(f"{device}/msi_irqs/40", "")
    assert policy(tree, device, 40) == told
