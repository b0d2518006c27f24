"""roles/boot/files/boot_arguments.sh: is the menu stale, does this boot differ from the next."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/boot/files/boot_arguments.sh"
PARAMETERS = ["isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity", "hugepagesz", "hugepages"]
OURS = "isolcpus=managed_irq,domain,2-3 nohz_full=2-3"


class Boot:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.configure("", "")
        self.menu("ro quiet")
        self.running("ro quiet")

    def write(self, path: str, text: str) -> None:
        real = self.root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)

    def configure(self, default: str, drop_in: str) -> None:
        self.write("etc/default/grub", f'GRUB_CMDLINE_LINUX_DEFAULT="quiet {default}"\nGRUB_CMDLINE_LINUX=""\n')
        self.write(
            "etc/default/grub.d/80-hosttune-cpu_isolation.cfg",
            f'GRUB_CMDLINE_LINUX_DEFAULT="${{GRUB_CMDLINE_LINUX_DEFAULT}} {drop_in}"\n',
        )

    def menu(self, arguments: str) -> None:
        entry = "menuentry 'Debian' {{\n\tlinux\t/boot/vmlinuz root=UUID=1 {}\n\tinitrd /boot/initrd\n}}\n"
        self.write("boot/grub/grub.cfg", entry.format(arguments) + entry.format("ro single"))

    def running(self, arguments: str) -> None:
        self.write("proc/cmdline", f"BOOT_IMAGE=/boot/vmlinuz root=UUID=1 {arguments}\n")

    def compare(self) -> list[str]:
        environment = {**os.environ, "HOSTTUNE_ROOT": str(self.root)}
        done = subprocess.run(
            ["sh", SCRIPT, *PARAMETERS], env=environment, cwd=self.root, capture_output=True, text=True, check=True,
            timeout=60,
        )  # fmt: skip
        assert done.stderr == ""
        return [line.partition(":")[0] for line in done.stdout.splitlines()]


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    return Boot(tmp_path)


def test_untouched(boot: Boot) -> None:
    assert boot.compare() == []


def test_killed_before_update_grub(boot: Boot) -> None:
    boot.configure("", OURS)
    assert boot.compare() == ["menu", "running"]


def test_killed_before_the_reboot(boot: Boot) -> None:
    boot.configure("", OURS)
    boot.menu(f"ro quiet {OURS}")
    assert boot.compare() == ["running"]


def test_converged(boot: Boot) -> None:
    boot.configure("", OURS)
    boot.menu(f"ro quiet {OURS}")
    boot.running(f"ro quiet {OURS}")
    assert boot.compare() == []


def test_reverted_and_not_booted(boot: Boot) -> None:
    boot.running(f"ro quiet {OURS}")
    boot.menu(f"ro quiet {OURS}")
    assert boot.compare() == ["menu", "running"]


@pytest.mark.parametrize(
    "same",
    [
        "nohz_full=2-3 isolcpus=managed_irq,domain,2-3",
        "isolcpus=domain,managed_irq,3,2 nohz_full=2,3",
    ],
)
def test_order_and_spelling_do_not_matter(boot: Boot, same: str) -> None:
    boot.configure("", OURS)
    boot.menu(OURS)
    boot.running(same)
    assert boot.compare() == []


@pytest.mark.parametrize(
    "other",
    [
        "isolcpus=domain,2-3 nohz_full=2-3",
        "isolcpus=managed_irq,domain,2-3",
        "isolcpus=managed_irq,domain,2-3 nohz_full=3",
        f"{OURS} hugepagesz=1G hugepages=0:1",
    ],
)
def test_any_difference_counts(boot: Boot, other: str) -> None:
    boot.configure("", OURS)
    boot.menu(OURS)
    boot.running(other)
    assert boot.compare() == ["running"]


def test_other_arguments_are_no_reason(boot: Boot) -> None:
    boot.running("ro quiet splash mitigations=off initrd=/boot/initrd")
    assert boot.compare() == []


def test_a_host_without_grub(boot: Boot) -> None:
    for path in ("etc/default/grub", "etc/default/grub.d/80-hosttune-cpu_isolation.cfg", "boot/grub/grub.cfg"):
        (boot.root / path).unlink()
    assert boot.compare() == []


def test_arguments_with_spaces_and_wildcards(boot: Boot) -> None:
    boot.running('ro quiet dyndbg=\\"file *.c +p\\" [*]')
    assert boot.compare() == []


@pytest.mark.parametrize("cpus", ["0-999999999", "0-99999999999999999999", "-".join("9" * 5000), "0-9999"])
def test_a_list_of_more_cpus_than_there_are_takes_no_time(boot: Boot, cpus: str) -> None:
    boot.running(f"ro quiet isolcpus={cpus}")
    begun = time.monotonic()
    assert boot.compare() == ["running"]
    assert time.monotonic() - begun < 2
    boot.menu(f"isolcpus={cpus}")
    boot.configure(f"isolcpus={cpus}", "")
    assert boot.compare() == []


def test_no_argument_is_a_pattern_of_file_names(boot: Boot) -> None:
    """As root begins in a directory of somebody's who has put a file there that is called like an argument."""
    (boot.root / "isolcpus=2-3").touch()
    boot.running("ro quiet isolcpus=[2]-3")
    boot.configure("isolcpus=2-3", "")
    boot.menu("isolcpus=2-3")
    assert boot.compare() == ["running"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("90-hoster.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="nomodeset"\n', True),
        ("90-hoster.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT nomodeset"\n', False),
        ("90-hoster.cfg", 'GRUB_CMDLINE_LINUX="nomodeset"\n', False),
        ("90-hoster.cfg", "unset GRUB_CMDLINE_LINUX_DEFAULT\n", True),
        ("50-hoster.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="nomodeset"\n', False),
        ("80-hosttune.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="nomodeset"\n', True),
    ],
)
def test_a_file_that_takes_the_arguments_away_is_named(boot: Boot, name: str, text: str, told: bool) -> None:
    boot.configure("", OURS)
    boot.write(f"etc/default/grub.d/{name}", text)
    environment = {**os.environ, "HOSTTUNE_ROOT": str(boot.root)}
    done = subprocess.run(["sh", SCRIPT], env=environment, cwd=boot.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ([f"reset: /etc/default/grub.d/{name}"] if told else [])
    for drop_in in (boot.root / "etc/default/grub.d").glob("80-hosttune-*"):
        drop_in.unlink()  # before the roles have written theirs
    done = subprocess.run(["sh", SCRIPT], env=environment, cwd=boot.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ([f"reset: /etc/default/grub.d/{name}"] if told else [])
