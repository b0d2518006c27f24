"""roles/irq_affinity/files/irq_affinity.py as it is run, on a tree that looks like /proc and /sys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.unit.roles.irq_tree import PROFILE, Tree


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


def test_3000_queues_take_no_time(tree: Tree) -> None:
    """Each is looked at once. A look at all others for each of them takes minutes, and that at every ifup."""
    for number in range(100, 3100):
        tree.irq(number, f"mlx5_comp{number}@pci:0000:01:00.0", "0-3")
        tree.write(f"/sys/class/net/eth0/device/msi_irqs/{number}", "")
    tree.own()
    begun = time.monotonic()
    lines = tree.run("apply")
    seconds = time.monotonic() - begun
    assert len([line for line in lines if "mlx5_comp" in line]) == 3000
    assert seconds < 5, seconds


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
