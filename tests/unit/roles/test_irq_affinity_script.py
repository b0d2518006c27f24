"""roles/irq_affinity/files/irq_affinity.py as it is run, on a tree that looks like /proc and /sys."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

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
    assert "kept: irq 24 (virtio0-req.0): 2 -> 0,1 (EACCES: the file cannot be written)" in tree.run("apply")
    assert tree.run("check") == ["kept: irq 24 (virtio0-req.0): 2 -> 0,1"]


def test_within_housekeeping_is_good_enough(tree: Tree) -> None:
    tree.irq(1, "i8042", "0")
    tree.run("apply")
    assert tree.cpus(1) == "0"


@pytest.mark.parametrize(("mask", "then"), [("1", "1"), ("2", "2"), ("3", "3"), ("0", "3"), ("5", "3"), ("c", "3")])
def test_where_new_interrupts_start_may_be_some_of_the_housekeeping_cpus(tree: Tree, mask: str, then: str) -> None:
    """So that irqaffinity= of fewer CPUs, and the fix of the check that sets it, are not undone."""
    tree.write("/proc/irq/default_smp_affinity", f"{mask}\n")
    said = [] if mask == then else [f"new interrupts: mask {mask} -> {then}"]
    for command, word in (("check", "wrong"), ("apply", "changed"), ("apply", "")):
        lines = [line for line in tree.run(command) if "new interrupts" in line]
        assert lines == [f"{word}: {each}" for each in said if word]
    assert (tree.root / "proc/irq/default_smp_affinity").read_text().strip() == then


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
    tree.process(77, f"PATH=/bin\0{environment}\0")
    assert [line for line in tree.run("apply") if line.startswith("irqbalance")] == expected


def test_irqbalance_that_shall_be_stopped(tree: Tree) -> None:
    profile = PROFILE.replace("banned", "stopped")
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", profile)
    assert not [line for line in tree.run("apply") if line.startswith("irqbalance")]
    tree.process(77, "")
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
        ('{"irq_affinity": {"housekeeping": 0}}', "not as the role writes it (TypeError: "),
        ('{"irq_affinity": {"housekeeping": "0", "queues": {"eth0": ""}}}', "no CPUs for the queues of eth0"),
        ("\udcff", "not as the role writes it (JSONDecodeError: "),
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
    tree.process(77, "IRQBALANCE_BANNED_CPULIST=two\0")
    lines = [line for line in tree.run("check") if line.startswith("irqbalance")]
    assert lines == [
        "irqbalance: process 77 is banned from CPUs '' (irqbalance stops reading 'two' at 't'), and shall be from '2,3'"
    ]


def test_irqbalance_that_does_not_ask_the_policy_script(tree: Tree) -> None:
    """Started before the role's settings were there: it moves the interrupts of queues."""
    tree.process(77, "IRQBALANCE_BANNED_CPULIST=2-3\0")
    tree.write("/proc/77/cmdline", "/usr/sbin/irqbalance\0--foreground\0")
    policy = "--policyscript=/usr/local/lib/hosttune/irqbalance_policy"
    expected = f"irqbalance: process 77 runs without {policy}, and moves the interrupts of queues"
    assert expected in tree.run("check")
    tree.write("/proc/77/cmdline", f"/usr/sbin/irqbalance\0--foreground\0{policy}\0")
    assert not [line for line in tree.run("check") if "irqbalance" in line]


def test_irqbalance_is_banned_from_cpus_that_may_come(tree: Tree) -> None:
    tree.write("/sys/devices/system/cpu/possible", "0-5\n")
    tree.process(77, "IRQBALANCE_BANNED_CPULIST=2-5\0")
    assert not [line for line in tree.run("apply") if line.startswith("irqbalance")]


@pytest.mark.parametrize(
    "imposter",
    [
        {"uids": "12345 12345 12345 12345"},
        {"uids": "12345 12345 12345 12345", "cgroup": "/system.slice/irqbalance.service"},
        # A set-user-ID program, by a link of that name.
        {"uids": "12345 0 0 0", "exe": "/usr/bin/su"},
        {"exe": "/tmp/irqbalance"},
        {"exe": "/usr/bin/python3.11", "cgroup": "/user.slice/user-0.slice/system.slice/irqbalance.service"},
        {"exe": ""},
    ],
)
@pytest.mark.parametrize("wanted", ["banned", "stopped"])
def test_a_process_is_not_irqbalance_by_its_name(tree: Tree, imposter: dict[str, str], wanted: str) -> None:
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", PROFILE.replace("banned", wanted))
    tree.process(66, "IRQBALANCE_BANNED_CPULIST=0-999999999\0", **imposter)
    assert not [line for line in tree.run("check") if line.startswith("irqbalance")]
    tree.run("apply")
    assert "irqbalance" not in (tree.root / "var/lib/hosttune/irq_affinity/interrupts").read_text()
    tree.process(77, "IRQBALANCE_BANNED_CPULIST=3\0")
    assert [line.split()[2] for line in tree.run("check") if line.startswith("irqbalance: process")] == (
        ["77"] if wanted == "banned" else []
    )


@pytest.mark.parametrize(
    "own",
    [
        {"comm": "x"},
        {"exe": "/usr/sbin/irqbalance (deleted)"},
        {"exe": "", "cgroup": "/system.slice/irqbalance.service"},
    ],
)
def test_it_is_irqbalance_by_its_program_or_its_unit(tree: Tree, own: dict[str, str]) -> None:
    tree.process(77, "", **own)
    assert [line for line in tree.run("check") if line.startswith("irqbalance: process 77 ")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start a process of another user")
def test_a_strangers_process_of_that_name_changes_nothing(tree: Tree) -> None:
    """Really one, on this machine's /proc."""
    (tree.root / "proc/77").mkdir()
    shutil.rmtree(tree.root / "proc/77")
    program = tree.root / "irqbalance"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    program.chmod(0o755)
    with subprocess.Popen(
        [program, "60"], user=12345, group=12345, extra_groups=[], env={"IRQBALANCE_BANNED_CPULIST": "0-999999999"}
    ) as stranger:
        try:
            for name in ("comm", "environ", "status", "cgroup"):
                tree.write(f"/proc/{stranger.pid}/{name}", Path(f"/proc/{stranger.pid}/{name}").read_text())
            assert (tree.root / f"proc/{stranger.pid}/comm").read_text() == "irqbalance\n"
            (tree.root / f"proc/{stranger.pid}/exe").symlink_to(os.readlink(f"/proc/{stranger.pid}/exe"))
            begun = time.monotonic()
            assert not [line for line in tree.run("check") if line.startswith("irqbalance")]
            assert time.monotonic() - begun < 5
        finally:
            stranger.kill()


@pytest.mark.parametrize(
    "banned",
    [
        "0-999999999",
        "0-8191," * 20_000,
        "9" * 100_000,
        "0-8191:1/8191," * 8_000,
        "x" * (2 << 20),
        "0-" * 50_000,
        "\x1b[2J",
    ],
)
def test_a_list_of_irqbalance_costs_no_time_and_no_lines(tree: Tree, banned: str) -> None:
    tree.process(77, f"IRQBALANCE_BANNED_CPULIST={banned}\0")
    begun = time.monotonic()
    lines = [line for line in tree.run("check") if "irqbalance" in line]
    assert time.monotonic() - begun < 5
    assert len(lines) == 1 and len(lines[0]) < 400 and lines[0].isprintable()


def test_more_cpus_than_there_are_count_as_those_that_there_are(tree: Tree) -> None:
    """Up to the largest number that irqbalance knows: a larger one bans nothing."""
    tree.process(77, "IRQBALANCE_BANNED_CPULIST=2-4095\0")
    assert not [line for line in tree.run("check") if "irqbalance" in line]
    tree.write("/proc/77/environ", "IRQBALANCE_BANNED_CPULIST=2-4096\0")
    assert [line for line in tree.run("check") if "too large a number), and shall be from '2,3'" in line]


def test_irqbalance_told_nothing_leaves_isolated_cpus_alone(tree: Tree) -> None:
    tree.process(77, "HOME=/\0")
    tree.write("/sys/devices/system/cpu/isolated", "2\n")
    tree.write("/sys/devices/system/cpu/nohz_full", "(null)\n")
    assert [line for line in tree.run("check") if "banned from CPUs '2', and shall be from '2,3'" in line]
    tree.write("/sys/devices/system/cpu/nohz_full", "2-3\n")
    assert not [line for line in tree.run("check") if "irqbalance" in line]
    tree.write("/proc/77/environ", "IRQBALANCE_BANNED_CPUS=0\0IRQBALANCE_BANNED_CPULIST=2-3\0")
    assert [line for line in tree.run("check") if "banned from CPUs '', and shall be from '2,3'" in line]


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv")
def test_an_environment_that_cannot_be_read_is_said(tree: Tree) -> None:
    tree.process(77, "")
    tree.managed(24)
    (tree.root / "proc/77/environ").chmod(0)
    lines = [line for line in tree.run("check") if "irqbalance" in line]
    assert lines == ["unknown: irqbalance runs as process 77, whose environment cannot be read: Permission denied"]


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "x" * (2 << 20), '{"irq_affinity": {"housekeeping": "0", "queues": {"a/b": "1"}}}']
)
def test_a_profile_that_is_a_bomb(tree: Tree, content: str) -> None:
    tree.write("/etc/hosttune/profile.d/irq_affinity.yml", content)
    environment = {**os.environ, "HOSTTUNE_ROOT": str(tree.root)}
    done = subprocess.run([tree.program, "apply"], env=environment, capture_output=True, text=True, timeout=5)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and len(done.stderr) < 400


def test_what_an_interrupt_is_called_gives_the_terminal_no_orders(tree: Tree) -> None:
    tree.irq(1, "eth0\x1b[2J-rx", "0-3")
    assert "wrong: irq 1 (eth0\\u001b[2J-rx): 0-3 -> 0,1" in tree.run("check")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
def test_watch_applies_again_when_a_link_comes_up(tree: Tree) -> None:
    tree.own()
    with subprocess.Popen(
        ["unshare", "--net", tree.program, "watch"], env={**os.environ, "HOSTTUNE_ROOT": str(tree.root)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as program:  # fmt: skip
        try:
            wait_until(lambda: tree.cpus(32) == "0")
            for state in ("up", "up", "down"):  # not of `down` alone, below
                tree.write("/proc/irq/32/smp_affinity_list", "0-1\n")
                subprocess.run(
                    ["nsenter", f"--net=/proc/{program.pid}/ns/net", "ip", "link", "set", "lo", "down"], check=True
                )
                time.sleep(1.5)
                assert tree.cpus(32) == "0-1"
                if state == "up":
                    subprocess.run(
                        ["nsenter", f"--net=/proc/{program.pid}/ns/net", "ip", "link", "set", "lo", "up"], check=True
                    )
                    wait_until(lambda: tree.cpus(32) == "0")
        finally:
            program.terminate()


def wait_until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.05)
