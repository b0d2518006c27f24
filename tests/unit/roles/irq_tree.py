"""A tree that looks like /proc and /sys, with the program of the role irq_affinity installed in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
ROLE = PROJECT / "roles/irq_affinity"
INSTALLED = "/usr/local/lib/hosttune/irq_affinity"
NOBODY = 65534

PROFILE = """\
# Managed by the role irq_affinity
{
  "irq_affinity": {
    "housekeeping": "0-1",
    "irqbalance": "banned",
    "queues": {
      "eth0": "1,0",
      "ens1f0": "1"
    }
  }
}
"""


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.program = root / INSTALLED[1:]
        self.write(INSTALLED, (ROLE / "files/irq_affinity.py").read_text())
        self.program.chmod(0o755)
        for module in ("host/cpulist.py", "host/irq_plan.py", "errors.py", "output.py"):
            self.write(f"/usr/local/lib/hosttune/{module}", (PROJECT / "hosttune" / module).read_text())
        self.write("/etc/hosttune/profile.d/irq_affinity.yml", PROFILE)
        self.write("/sys/devices/system/cpu/present", "0-3\n")
        self.write("/proc/irq/default_smp_affinity", "f\n")
        self.irq(1, "i8042", "0-3")
        self.irq(9, "", "0-3")
        self.irq(24, "virtio0-req.0", "2")
        self.irq(31, "eth0-rxtx-0", "0-1")
        self.irq(32, "eth0-rxtx-1", "0-1")
        self.irq(33, "virtio1-input.1", "3")
        self.write("/sys/class/net/eth0/device/msi_irqs/31", "")
        self.write("/sys/class/net/eth0/device/msi_irqs/32", "")
        # A virtio device: the vectors belong to the PCI device above it.
        self.write("/sys/devices/pci/0000:00:05.0/msi_irqs/33", "")
        (root / "sys/devices/pci/0000:00:05.0/virtio1").mkdir()
        (root / "sys/class/net/ens1f0").mkdir(parents=True)
        (root / "sys/class/net/ens1f0/device").symlink_to(root / "sys/devices/pci/0000:00:05.0/virtio1")

    def write(self, path: str, text: str) -> None:
        real = self.root / path[1:]
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)

    def irq(self, number: int, actions: str, cpus: str) -> None:
        self.write(f"/proc/irq/{number}/smp_affinity_list", cpus + "\n")
        self.write(f"/sys/kernel/irq/{number}/actions", actions + "\n" if actions else "")

    def process(self, number: int, environ: str, *, uids: str = "0 0 0 0", comm: str = "irqbalance",
                exe: str = "/usr/sbin/irqbalance", cgroup: str = "/system.slice/x.service") -> None:  # fmt: skip
        """A process as /proc shows it: irqbalance's own, if nothing else is said."""
        self.write(f"/proc/{number}/comm", comm + "\n")
        self.write(f"/proc/{number}/environ", environ)
        self.write(f"/proc/{number}/status", f"Name:\t{comm}\nUid:\t" + "\t".join(uids.split()) + "\n")
        self.write(f"/proc/{number}/cgroup", f"0::{cgroup}\n")
        if exe:
            (self.root / f"proc/{number}/exe").symlink_to(exe)

    def cpus(self, number: int) -> str:
        return (self.root / f"proc/irq/{number}/smp_affinity_list").read_text().strip()

    def managed(self, number: int) -> None:
        """As the kernel does it: the mask can be read and not written."""
        (self.root / f"proc/irq/{number}/smp_affinity_list").chmod(0o444)

    def run(self, *arguments: str) -> list[str]:
        self.own()
        done = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, "HOSTTUNE_ROOT": str(self.root)},
            user=NOBODY if os.geteuid() == 0 else None,  # root could write what is managed
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.splitlines()

    def own(self) -> None:
        if os.geteuid() == 0:
            for directory, _, names in os.walk(self.root):
                for name in [directory, *(os.path.join(directory, name) for name in names)]:
                    os.chown(name, NOBODY, NOBODY, follow_symlinks=False)
