"""Hosts whose boot menu is a script of GRUB that says something by a condition, a function or a variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected, Hosts
from tests.unit.hosttune.host.test_grub_script import RHEL

GRUB, GRUB2 = "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"
ARGUMENTS = ("isolated", "managed_irq", "nohz_full", "rcu_nocbs", "irqaffinity")
LOST: Expected = {f"cpu_isolation.{name}": "volatile" for name in ARGUMENTS}
OPEN: Expected = dict.fromkeys(LOST, "unknown")
OLD, NEW = (f"0123456789abcdef0123456789abcdef-5.14.0-{number}.el9.x86_64" for number in (400, 500))


def menu(*lines: str, first: str = golden.BOOT, second: str = "", end: str = "") -> Changes:
    """A menu of two entries behind these lines, and what stands behind them."""
    entries = "".join(
        f"menuentry '{title}' --id {title} {{\n\tlinux\t/boot/vmlinuz-6.1.0-28-amd64 root=UUID=1-2 ro {words}\n}}\n"
        for title, words in (("A", first), ("B", second))
    )
    return {GRUB: "\n".join(["load_env", 'set default="0"', *lines, entries]) + end}


def rhel(env: str, new: str = golden.BOOT, old: str = "") -> Changes:
    """The stock menu of RHEL 9 with two kernels."""
    entries = {NEW: new, OLD: old}
    return {
        GRUB: None,
        "/boot/grub/grubenv": None,
        GRUB2: RHEL,
        "/boot/grub2/grubenv": f"# GRUB Environment Block\n{env}",
        **{
            f"/boot/loader/entries/{name}.conf": f"title RHEL\nversion {name[33:]}\nlinux /vmlinuz-{name[33:]}\n"
            f"options root=UUID=1 ro {words}\ngrub_users $grub_users\n"
            for name, words in entries.items()
        },
        "/etc/default/grub.d/80-hosttune-cpu_isolation.cfg": None,
    }


HOSTS: Hosts = {
    "RHEL: the saved entry": (rhel(f"saved_entry={NEW}\n"), {}),
    "RHEL: the saved entry is the wrong one": (rhel(f"saved_entry={NEW}\n", new="", old=golden.BOOT), LOST),
    "RHEL: the saved entry is the older one": (rhel(f"saved_entry={OLD}\n", new="", old=golden.BOOT), {}),
    "RHEL: nothing is saved": (rhel(""), {}),
    "RHEL: boots are counted": (rhel(f"saved_entry={NEW}\nboot_counter=2\nboot_success=0\n"), {}),
    "RHEL: no boots are left": (rhel(f"saved_entry={NEW}\nboot_counter=0\nboot_success=0\n"), LOST),
    "RHEL: no boots are left, after a good one": (rhel(f"saved_entry={NEW}\nboot_counter=0\nboot_success=1\n"), {}),
    "an assignment without set": (menu("default=1"), LOST),
    "arguments in a variable": (menu(f'myargs="{golden.BOOT}"', first="$myargs"), {}),
    "arguments in a variable by set": (menu(f'set myargs="{golden.BOOT}"', first="$myargs"), {}),
    "arguments in a variable that changes": (
        menu(f'set opts="{golden.BOOT}"', first="$opts", end="set opts=quiet\n"),
        LOST,
    ),
    "arguments in a variable that is set late": (menu(first="$opts", end=f'set opts="{golden.BOOT}"\n'), {}),
    "another entry sets the default": (menu(end="menuentry C {\n set default=1\n linux /v\n}\n"), {}),
    "a function sets the default": (menu("function f {\n set default=1\n}"), {}),
    "a function that is called sets the default": (menu("function f {\n set default=$1\n}", end="f B\n"), LOST),
    "a condition that holds": (menu('if [ -n "$default" -a "$x" != 1 ]; then\n set default=B\nfi'), LOST),
    "a condition that does not": (menu("if test -z $default; then\n set default=B\nelif false; then\n x=y\nfi"), {}),
    "a condition on a file": (menu("if [ -f /boot/old ]; then\n set default=B\nfi"), OPEN),
    "a condition on a file, all the same": (menu("if [ -f /x ]; then\n set default=B\nfi", second=golden.BOOT), {}),
    "a condition on a file, another matter": (menu("if [ -f /x ]; then\n set timeout=5\nfi"), {}),
    "a default of no known value": (menu("search --set=default --file /x"), OPEN),
    "another configuration": (menu("source $prefix/desk.cfg"), OPEN),
    "what GRUB does not take": (menu("if x; then; fi"), OPEN),
    "custom.cfg assigns": ({**menu(end="source $prefix/custom.cfg\n"), "/boot/grub/custom.cfg": "default=1\n"}, LOST),
    "custom.cfg is not taken in": ({**menu(), "/boot/grub/custom.cfg": "default=1\n"}, {}),
    "a password": (menu(end="if [ -f $prefix/user.cfg ]; then\n source $prefix/user.cfg\nfi\n"), {}),
    "a line that is too long": (menu(first=f"x={'y' * 2100} {golden.BOOT}"), LOST),
    "a line that is too long behind what matters": (menu(first=f"{golden.BOOT} x={'y' * 2100} isolcpus=2"), {}),
    "a line that is cut where something matters": (
        menu(first=f"x={'y' * (2047 - 60 - len(golden.BOOT))} {golden.BOOT}"),
        OPEN,
    ),
    "a line that just fits": (menu(first=f"x={'y' * (2047 - 100 - len(golden.BOOT))} {golden.BOOT}"), {}),
    "grubenv is not loaded": (
        {
            GRUB: str(menu('set default="${saved_entry}"')[GRUB]).replace("load_env\n", ""),
            "/boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=B\n",
        },
        {},
    ),
    "grubenv is loaded": (
        {**menu('set default="${saved_entry}"'), "/boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=B\n"},
        LOST,
    ),
}


BY_HAND = "menuentry C {\n\tlinux /boot/vmlinuz-6.1.0-28-amd64 ro isolcpus=2\n}\ndefault=C\n"
SECTION = f"### BEGIN /etc/grub.d/40_custom ###\n{BY_HAND}### END /etc/grub.d/40_custom ###\n"


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        (
            {**menu(end="source $prefix/custom.cfg\n"), "/boot/grub/custom.cfg": BY_HAND},
            "in /boot/grub/custom.cfg, line 2, the kernel of the default entry: take out isolcpus=2 and add "
            "isolcpus=managed_irq,domain,2-3",
        ),
        (
            menu(end=SECTION),
            "in /etc/grub.d/40_custom, line 4, the kernel of the default entry: take out isolcpus=2 and add "
            "isolcpus=managed_irq,domain,2-3\nthen update-grub",
        ),
    ],
)
def test_the_fix_of_an_entry_by_hand(changes: Changes, fix: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(changes, LOST, fake_host, tmp_path)
    found = {one.id: one.fix for one in corpus.judge(corpus.make(fake_host, changes)).findings}
    assert found["cpu_isolation.isolated"] == fix


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
