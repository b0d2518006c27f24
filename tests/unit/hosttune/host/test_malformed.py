"""Whatever a file holds: parsers understand it or say ValueError, nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosttune.host import (
    cmdline,
    cpulist,
    grub,
    identity,
    irq,
    irq_unit,
    limits,
    limits_lines,
    pam,
    process,
    systemd_lines,
    users,
)

WORDS = st.sampled_from(
    [
        *[
            "isolcpus=",
            "nohz_full=",
            "rcu_nocbs=",
            "managed_irq,",
            "domain,",
            "2-3",
            "4-N",
            "all",
            "0-7:1/4",
            "99999999999",
        ],
        *[
            "menuentry ",
            "submenu ",
            "'a'",
            '"b',
            "{\n",
            "\n}\n",
            "linux ",
            "set default=",
            "${next_entry}",
            "$x",
            ">",
            "\\",
        ],
        *[
            "[Service]\n",
            "Key=",
            "\\\n",
            "trader ",
            "- ",
            "soft ",
            "memlock ",
            "-1",
            "unlimited",
            ":",
            "@",
            "*",
            "%",
            "#",
        ],
        *[
            "CPU0 ",
            "CPU1\n",
            "1: ",
            "LOC: ",
            "Max nice priority ",
            "session include ",
            "\n",
            " ",
            "\t",
            "=",
            ",",
            "'",
            '"',
        ],
    ]
)
TEXT = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map("".join))
USER = users.User("trader", 1001, 1001, frozenset({"rt"}), frozenset({1001}))

PARSERS = {
    "arguments": cmdline.split_arguments,
    "isolation": lambda text: cmdline.resolve_isolation(cmdline.split_arguments(text), 7),
    "isolation without N": lambda text: cmdline.resolve_isolation(cmdline.split_arguments(text), None),
    "rcu_nocbs": lambda text: cmdline.resolve_rcu_nocbs(cmdline.split_arguments(text), None),
    "grub": lambda text: grub.find_default_entry(text, {"next_entry": "a>b"}, {}),
    "grub with saved entry": lambda text: grub.find_default_entry(
        "set default=${saved_entry}\nmenuentry a {\nlinux b c\n}", {"saved_entry": text}
    ),
    "grubenv": grub.parse_environment,
    "interrupts": irq.parse_interrupts,
    "actions": irq.parse_actions,
    "settings of a service": irq_unit.parse_settings,
    "banned": lambda text: cpulist.parse_irqbalance(cpulist.IrqbalanceList(text)),
    "banned mask": lambda text: cpulist.parse_irqbalance_mask(cpulist.IrqbalanceMask(text)),
    "units": lambda text: systemd_lines.parse(text, "f"),
    "limits.conf": lambda text: pam.resolve([limits_lines.parse(text, "f")["1.5"]], USER, {}, None),
    "LimitMEMLOCK": lambda text: limits.parse_systemd("memlock", text),
    "LimitNICE": lambda text: limits.parse_systemd("nice", text),
    "proc limits": limits.parse_proc,
    "stat": process.parse_stat,
    "capabilities": process.parse_capabilities,
    "release": identity.parse_release,
}


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
@settings(max_examples=150, deadline=None)
@given(text=TEXT)
def test_parsers(parser, text):
    with contextlib.suppress(ValueError):
        parser(text)


@settings(max_examples=150, deadline=None)
@given(status=TEXT, stat=TEXT)
def test_threads(fake_host, status, stat):
    host = fake_host({"/proc/1/status": f"{status}\nCpus_allowed_list:\t0\n", "/proc/1/task/1/stat": stat})
    tasks = process.read_tasks(host, placement=True)
    assert len(tasks.seen) <= 1
