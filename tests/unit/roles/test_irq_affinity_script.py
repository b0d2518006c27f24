"""roles/irq_affinity/files/irq_affinity.py on a tree that looks like /proc and /sys."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.checks import irq_affinity
from hosttune.host import irq_plan
from hosttune.host.irq_unit import parse_settings
from hosttune.host.root import Tree as HostTree

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
        for module in ("cpulist.py", "irq_plan.py"):
            self.write(f"/usr/local/lib/hosttune/host/{module}", (PROJECT / "hosttune/host" / module).read_text())
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


@pytest.fixture
def tree() -> Iterator[Tree]:
    # Not tmp_path: another user has to get into it.
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    try:
        yield Tree(root)
    finally:
        shutil.rmtree(root)


def test_moves_what_is_elsewhere(tree: Tree) -> None:
    lines = tree.run("apply")
    assert "changed: irq 1 (i8042): 0-3 -> 0,1" in lines
    assert "changed: irq 24 (virtio0-req.0): 2 -> 0,1" in lines
    assert "changed: new interrupts: mask f -> 3" in lines
    assert tree.cpus(9) == "0-3", "nobody handles it"


def test_queues_go_to_their_cpus_in_turn(tree: Tree) -> None:
    tree.run("apply")
    assert [tree.cpus(number) for number in (31, 32, 33)] == ["1", "0", "1"]


def test_second_apply_changes_nothing(tree: Tree) -> None:
    tree.run("apply")
    assert tree.run("apply") == []


def test_check_says_what_apply_would_do_and_does_not_do_it(tree: Tree) -> None:
    lines = tree.run("check")
    assert "wrong: irq 1 (i8042): 0-3 -> 0,1" in lines
    assert tree.cpus(1) == "0-3"
    applied = tree.run("apply")
    assert [line.partition(": ")[2] for line in lines] == [line.partition(": ")[2] for line in applied]
    assert tree.run("check") == []


def test_what_the_kernel_keeps_is_reported_and_not_called_wrong(tree: Tree) -> None:
    tree.managed(24)
    assert "kept: irq 24 (virtio0-req.0): 2 -> 0,1" in tree.run("apply")
    assert tree.run("check") == ["kept: irq 24 (virtio0-req.0): 2 -> 0,1"]


def test_within_housekeeping_is_good_enough(tree: Tree) -> None:
    tree.irq(1, "i8042", "0")
    tree.run("apply")
    assert tree.cpus(1) == "0"


def test_a_missing_interface_is_reported(tree: Tree) -> None:
    shutil.rmtree(tree.root / "sys/class/net/eth0")
    assert "missing: eth0: no such network interface" in tree.run("apply")


def test_restore_puts_everything_back(tree: Tree) -> None:
    before = {number: tree.cpus(number) for number in (1, 9, 24, 31, 32, 33)}
    tree.run("apply")
    tree.run("apply")
    assert "changed: irq 1 (i8042): 0-1 -> 0-3" in [line.replace("0,1", "0-1") for line in tree.run("restore")]
    assert {number: tree.cpus(number) for number in before} == before
    assert (tree.root / "proc/irq/default_smp_affinity").read_text().strip() == "f"
    assert tree.run("restore") == []


def test_restore_leaves_an_interrupt_that_is_another_devices_now(tree: Tree) -> None:
    tree.run("apply")
    tree.irq(31, "nvme0q1", "1")
    tree.run("restore")
    assert tree.cpus(31) == "1"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ("IRQBALANCE_BANNED_CPULIST=2-3", []),
        ("IRQBALANCE_BANNED_CPULIST=2,3", []),
        (
            "IRQBALANCE_BANNED_CPULIST=3",
            ["irqbalance: process 77 is banned from CPUs '3', and shall be from '2,3'"],
        ),
        ("HOME=/", ["irqbalance: process 77 is banned from CPUs '', and shall be from '2,3'"]),
    ],
)
def test_irqbalance_is_compared_as_it_runs(tree: Tree, environment: str, expected: list[str]) -> None:
    tree.write("/proc/77/comm", "irqbalance\n")
    tree.write("/proc/77/environ", f"PATH=/bin\0{environment}\0")
    assert [line for line in tree.run("apply") if line.startswith("irqbalance")] == expected


def test_irqbalance_that_shall_be_stopped(tree: Tree) -> None:
    profile = PROFILE.replace("banned", "stopped")
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", profile)
    assert not [line for line in tree.run("apply") if line.startswith("irqbalance")]
    tree.write("/proc/77/comm", "irqbalance\n")
    assert tree.run("check") == ["irqbalance: runs as process 77, and shall not"]


@pytest.mark.parametrize(
    ("cpus", "mask"),
    [("0-1", "3"), ("31", "80000000"), ("32", "1,00000000"), ("0,33,64-65", "3,00000002,00000001")],
)
def test_masks_of_large_machines(tree: Tree, cpus: str, mask: str) -> None:
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", PROFILE.replace('"0-1"', f'"{cpus}"'))
    tree.write("/proc/irq/default_smp_affinity", "ffff,ffffffff,ffffffff\n")
    tree.run("apply")
    assert (tree.root / "proc/irq/default_smp_affinity").read_text().strip() == mask
    # As the kernel shows it.
    tree.write("/proc/irq/default_smp_affinity", ("0000,00000000,0000000" + mask)[-(len(mask) + 9) :] + "\n")
    assert not [line for line in tree.run("check") if "new interrupts" in line]


@pytest.mark.parametrize(("arguments", "message"), [([], "usage:"), (["fix"], "usage:")])
def test_usage(tree: Tree, arguments: list[str], message: str) -> None:
    done = subprocess.run([tree.program, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr


def test_a_profile_without_housekeeping(tree: Tree) -> None:
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", '{"irq_affinity": {}}\n')
    environment = {**os.environ, "HOSTTUNE_ROOT": str(tree.root)}
    done = subprocess.run([tree.program, "apply"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "/etc/hosttune/profile.d/irq_affinity.yml: no housekeeping CPUs" in done.stderr


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("irq_affinity:\n  housekeeping: 0-1\n", "not as the role writes it (JSONDecodeError: "),
        ("[]", "not as the role writes it (TypeError: "),
        ('{"cpu_isolation": {}}', "not as the role writes it (KeyError: 'irq_affinity')"),
        ('{"irq_affinity": {"housekeeping": "3-2"}}', "cpulist '3-2' runs backwards"),
        ('{"irq_affinity": {"housekeeping": "0-9999999"}}', "no machine has a CPU 9999999"),
        ('{"irq_affinity": {"housekeeping": 0}}', "not as the role writes it (AttributeError: "),
        ('{"irq_affinity": {"housekeeping": "0", "queues": {"eth0": ""}}}', "no CPUs for the queues of eth0"),
        ("\udcff", "can't decode"),
    ],
)
def test_a_profile_that_cannot_be_applied_is_named_and_nothing_is_moved(tree: Tree, profile: str, message: str) -> None:
    (tree.root / "etc/hosttune/profile.d/irq_affinity.yml").write_text(profile, errors="surrogateescape")
    environment = {**os.environ, "HOSTTUNE_ROOT": str(tree.root)}
    done = subprocess.run([tree.program, "apply"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("/etc/hosttune/profile.d/irq_affinity.yml: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert tree.cpus(1) == "0-3" and not (tree.root / "var/lib").exists()


def test_a_profile_that_is_not_there(tree: Tree) -> None:
    environment = {**os.environ, "HOSTTUNE_ROOT": str(tree.root)}
    done = subprocess.run([tree.program, "apply", "/nowhere.yml"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"irq_affinity: {tree.root}/nowhere.yml: No such file or directory"]


def test_the_cards_other_interrupts_are_ordinary_ones(tree: Tree) -> None:
    tree.irq(34, "eth0", "2")  # the link changed
    tree.irq(35, "eth0-event-1", "0")
    for number in (34, 35):
        tree.write(f"/sys/class/net/eth0/device/msi_irqs/{number}", "")
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", PROFILE.replace('"1,0"', '"2,3"'))
    tree.run("apply")
    assert [tree.cpus(number) for number in (31, 32, 34, 35)] == ["2", "3", "0,1", "0"]


def test_a_card_without_message_signalled_interrupts(tree: Tree) -> None:
    shutil.rmtree(tree.root / "sys/class/net/eth0/device/msi_irqs")
    tree.write("/sys/class/net/eth0/device/irq", "11\n")
    tree.irq(11, "eth0", "0-3")
    tree.run("apply")
    assert tree.cpus(11) == "1"


def test_a_list_of_irqbalance_that_is_none(tree: Tree) -> None:
    tree.write("/proc/77/comm", "irqbalance\n")
    tree.write("/proc/77/environ", "IRQBALANCE_BANNED_CPULIST=two\0")
    lines = [line for line in tree.run("check") if line.startswith("irqbalance")]
    assert lines == ["irqbalance: process 77 is banned from CPUs 'two', and shall be from '2,3'"]


def test_irqbalance_is_banned_from_cpus_that_may_come(tree: Tree) -> None:
    tree.write("/sys/devices/system/cpu/possible", "0-5\n")
    tree.write("/proc/77/comm", "irqbalance\n")
    tree.write("/proc/77/environ", "IRQBALANCE_BANNED_CPULIST=2-5\0")
    assert not [line for line in tree.run("apply") if line.startswith("irqbalance")]


def test_3000_interrupts_take_no_time(tree: Tree) -> None:
    for number in range(100, 3100):
        tree.irq(number, f"mlx5_comp{number}@pci:0000:01:00.0", "0-3")
    tree.own()
    begun = time.monotonic()
    lines = tree.run("apply")
    seconds = time.monotonic() - begun
    assert len([line for line in lines if "mlx5_comp" in line]) == 3000
    # The shell program that this replaces took 20 seconds and more.
    assert seconds < 5, seconds


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
    errors = {1: errno.ENOSPC, 24: errno.EIO, 31: errno.EPERM}
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
    assert "kept: irq 1 (i8042): 0-3 -> 0,1 (ENOSPC: No space left on device)" in lines
    assert "kept: irq 24 (virtio0-req.0): 2 -> 0,1" in lines
    assert "kept: irq 31 (eth0-rxtx-0): 0-1 -> 1" in lines


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
            judged = bool(irq_plan.queue_irqs(interface, card, actions))
            assert runtime.pop(f"irq_affinity.queues.{interface}").state == ("ok" if judged else "unknown")
        assert {id: hop for id, hop in runtime.items() if hop.state != "ok"} == {}


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


@pytest.mark.parametrize(("kind", "told"), [("0x020000", "ban=true\n"), ("0x010802", "ban=false\n")])
def test_irqbalance_keeps_off_a_card_whose_interface_is_not_there_yet(tree: Tree, kind: str, told: str) -> None:
    device = "/sys/devices/pci/0000:00:01.0"
    tree.write(f"{device}/class", f"{kind}\n")
    tree.write(f"{device}/msi_irqs/40", "")
    assert policy(tree, device, 40) == told


# As the real one: announcements that come while it asks for all links are lost.
MONITOR = """\
#!{python}
import pathlib, sys, time
announced = pathlib.Path({announced!r})
if sys.argv[1:] == "link set dev lo group 0".split():
    announced.touch()
    sys.exit()
assert sys.argv[1:] == "-o monitor link".split()
time.sleep(2)  # a busy boot: the program is still being loaded
time.sleep(3)  # it asks for all links, and waits for whoever brings one up
open({mask!r}, "w").write("0-1\\n")  # it is up
announced.unlink(missing_ok=True)
for _ in range(50):
    time.sleep(0.1)
    if announced.exists():
        announced.unlink()
        print("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536", flush=True)
"""


def watch(tree: Tree) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run `watch` with the programs of the tree's bin/ in front, until it ends: what it said, and seconds."""
    tree.write("/sys/class/net/lo/netdev_group", "0\n")
    path = f"{tree.root}/bin"
    begun = time.monotonic()
    done = subprocess.run(
        [tree.program, "watch"], capture_output=True, text=True, timeout=60,
        env={"HOSTTUNE_ROOT": str(tree.root), "PATH": path},
    )  # fmt: skip
    return done, time.monotonic() - begun


def test_watch_sees_what_came_before_its_monitor_listened(tree: Tree) -> None:
    tree.run("apply")
    assert tree.cpus(32) == "0"
    mask, announced = tree.root / "proc/irq/32/smp_affinity_list", tree.root / "announced"
    tree.write("/bin/ip", MONITOR.format(python=sys.executable, mask=str(mask), announced=str(announced)))
    (tree.root / "bin/ip").chmod(0o755)
    done, seconds = watch(tree)
    assert "irq 32 (eth0-rxtx-1): 0-1 -> 0" in done.stdout, done.stderr
    assert tree.cpus(32) == "0"
    # And it ends when its monitor does: systemd starts it again.
    assert 10 <= seconds < 30


def test_watch_ends_when_there_is_no_monitor(tree: Tree) -> None:
    done, seconds = watch(tree)
    assert seconds < 20 and "ip" in done.stderr
