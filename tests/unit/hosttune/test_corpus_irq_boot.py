"""Hosts with a second service that sets affinities of interrupts at boot, wrongly or in another spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Hosts, replace

WANTS = f"{golden.UNITS}/multi-user.target.wants"
DEFAULT = "/proc/irq/default_smp_affinity"
SCRIPT, SETTINGS = "/opt/irq", "/etc/irq.yml"
RIGHT = dict[str, str]()
QUEUES = "irq_affinity.queues"
MASK = "irq_affinity.default"
UNKNOWN = {MASK: "unknown", QUEUES: "unknown"}
AT_BOOT = {MASK: "volatile", QUEUES: "volatile"}
UNIT = f"{golden.UNITS}/hosttune-irq_affinity.service"
NO_ARGUMENT = replace("/boot/grub/grub.cfg", " irqaffinity=0-1,4-7", "")
GENERATED = "/run/systemd/generator"
RC_LOCAL: Changes = {"/etc/rc.local": f"#!/bin/sh -e\necho ff > {DEFAULT}\nexit 0\n"}
ALONE: Changes = {**NO_ARGUMENT, f"{WANTS}/hosttune-irq_affinity.service": None}


def service(*lines: str, wants: str = WANTS, unit: str = "") -> Changes:
    """One more service that is enabled."""
    text = "\n".join(["[Unit]", unit, "[Service]", "Type=oneshot", *lines, ""])
    return {f"{golden.UNITS}/x.service": text, f"{wants}/x.service": f"-> {golden.UNITS}/x.service"}


def shell(text: str, key: str = "ExecStart") -> Changes:
    return service(f"{key}=/bin/sh -c '{text}'", *(["ExecStart=/bin/true"] if key.startswith("ExecStartP") else []))


def script(text: str, start: str = "#!/bin/bash\n") -> Changes:
    return {**service(f"ExecStart={SCRIPT} all eth0"), SCRIPT: f"{start}{text}\n"}


def configured(settings: str, start: str = "#!/usr/bin/python3\n# smp_affinity\n") -> Changes:
    """A service with a file of settings."""
    return {**service(f"ExecStart={SCRIPT} {SETTINGS}"), SCRIPT: start, SETTINGS: settings}


def timer(settings: str) -> Changes:
    """One that a timer starts."""
    files = configured(settings)
    return {
        path.replace("x.service", "x.timer") if path.startswith(WANTS) else path: text for path, text in files.items()
    } | {f"{golden.UNITS}/x.timer": "[Timer]\nOnBootSec=1min\n", f"{WANTS}/x.timer": f"-> {golden.UNITS}/x.timer"}


HOSTS: Hosts = {
    # --- a line of shell ---
    "all CPUs": (shell(f"echo ff > {DEFAULT}"), {MASK: "volatile"}),
    "before the start": (shell(f"echo ff > {DEFAULT}", "ExecStartPre"), {MASK: "volatile"}),
    "after the start": (shell(f"echo ff > {DEFAULT}", "ExecStartPost"), {MASK: "volatile"}),
    "when it stops": (shell(f"echo ff > {DEFAULT}", "ExecStop"), RIGHT),
    "by tee": (shell(f"echo ff | tee {DEFAULT} >/dev/null"), {MASK: "volatile"}),
    "the right mask": (shell(f"echo f3 > {DEFAULT}"), RIGHT),
    "fewer CPUs": (shell(f"echo 3 >{DEFAULT}"), RIGHT),
    "in groups": (shell(f"echo 00000000,000000f3 > {DEFAULT}"), RIGHT),
    "if it is there": (shell(f"[ -w {DEFAULT} ] && echo f3 > {DEFAULT}"), RIGHT),
    "no CPU, which the kernel refuses": (shell(f"echo 0 > {DEFAULT}"), RIGHT),
    "a variable": (shell(f"echo $$MASK > {DEFAULT}"), UNKNOWN),
    "another program": (service(f"ExecStart=/usr/bin/dd if=/etc/mask of={DEFAULT}"), UNKNOWN),
    "a look": (shell(f"cat {DEFAULT} > /run/mask"), RIGHT),
    "no shell": (service(f"ExecStart=/bin/echo ff > {DEFAULT}"), RIGHT),
    "the right mask and no argument": (
        {**shell(f"echo f3 > {DEFAULT}"), **ALONE},
        {QUEUES: "volatile", "cpu_isolation.irqaffinity": "volatile"},
    ),
    "an interrupt within housekeeping, which may be a queue's": (
        shell("echo 0-1 > /proc/irq/9/smp_affinity_list"),
        {QUEUES: "unknown"},
    ),
    "an interrupt on the queues' CPU": (shell("echo 1 > /proc/irq/29/smp_affinity_list"), RIGHT),
    "an interrupt elsewhere": (shell("echo 4 > /proc/irq/29/smp_affinity"), UNKNOWN),
    "all interrupts": (shell("for i in /proc/irq/*; do echo 1 > $$i/smp_affinity_list; done"), UNKNOWN),
    "names that a loop writes to": (
        shell("for i in $$(ls /proc/irq/*/smp_affinity); do echo ff > $$i; done"),
        UNKNOWN,
    ),
    # --- who starts it ---
    "not enabled": ({**shell(f"echo ff > {DEFAULT}"), f"{WANTS}/x.service": None}, RIGHT),
    "another user's": (service("User=trader", f"ExecStart=/bin/sh -c 'echo ff > {DEFAULT}'"), RIGHT),
    "another user's, but for this line": (
        service("User=trader", f"ExecStartPre=+/bin/sh -c 'echo ff > {DEFAULT}'", "ExecStart=/opt/x"),
        {MASK: "volatile"},
    ),
    "another user's, but for this script": (
        {
            **service("User=trader", f"ExecStartPre=!{SCRIPT}", "ExecStart=/opt/x"),
            SCRIPT: f"#!/bin/sh\necho ff > {DEFAULT}\n",
        },
        {MASK: "volatile"},
    ),
    "a vendor's": (
        {
            "/usr/lib/systemd/system/x.service": f"[Service]\nExecStart=/bin/sh -c 'echo ff > {DEFAULT}'\n",
            f"{WANTS}/x.service": "-> /usr/lib/systemd/system/x.service",
        },
        {MASK: "volatile"},
    ),
    "with a condition, wrong": (
        service(f"ExecStart=/bin/sh -c 'echo ff > {DEFAULT}'", unit="ConditionPathExists=/etc/x"),
        {MASK: "unknown"},
    ),
    "with a condition, right": (
        service(f"ExecStart=/bin/sh -c 'echo f3 > {DEFAULT}'", unit="ConditionPathExists=/etc/x"),
        RIGHT,
    ),
    "by a timer, wrong": (timer("housekeeping: 0-7\nqueues: {eth0: 1}\n"), {MASK: "unknown"}),
    "by a timer, right": (timer("housekeeping: 0-1,4-7\nqueues: {eth0: 1}\n"), RIGHT),
    "/etc/rc.local": (RC_LOCAL, {MASK: "volatile"}),
    "/etc/rc.local, right": ({"/etc/rc.local": f"#!/bin/sh -e\necho f3 > {DEFAULT}\nexit 0\n"}, RIGHT),
    "/etc/rc.local that is masked": ({**RC_LOCAL, f"{golden.UNITS}/rc-local.service": "-> /dev/null"}, RIGHT),
    "/etc/rc.local that no generator starts": (
        {**RC_LOCAL, f"{GENERATED}/local-fs.target.wants/tmp.mount": "-> ../tmp.mount"},
        {MASK: "unknown"},
    ),
    "/etc/rc.local that ends before": ({"/etc/rc.local": f"#!/bin/sh\nexit 0\necho ff > {DEFAULT}\n"}, RIGHT),
    "/etc/rc.local that may end before": (
        {"/etc/rc.local": f"#!/bin/sh\nif [ -f /etc/x ]; then\nexit 0\nfi\necho ff > {DEFAULT}\n"},
        UNKNOWN,
    ),
    "/etc/rc.local runs a vendor's script": (
        {"/etc/rc.local": "#!/bin/sh\n/usr/sbin/set_irq_affinity.sh eth0\n"},
        UNKNOWN,
    ),
    "a vendor's script": (service("ExecStart=/usr/sbin/set_irq_affinity_cpulist.sh 0-7 eth0"), UNKNOWN),
    # --- a script ---
    "a script": (script("printf %s $MASK > /proc/irq/$IRQ/smp_affinity"), UNKNOWN),
    "a script with the mask": (script(f"echo ff > {DEFAULT}"), {MASK: "volatile"}),
    "a script with the right mask": (script(f"  echo 'f3' > {DEFAULT}"), RIGHT),
    "a script that has a word on it": (script("# writes smp_affinity\ntrue  # not smp_affinity"), RIGHT),
    "a word on it that a backslash ends": (script(f"# smp_affinity \\\necho ff > {DEFAULT}"), {MASK: "volatile"}),
    "over two lines": (script(f"echo ff \\\n  > {DEFAULT}"), {MASK: "volatile"}),
    "no word, but a quotation": (script(f"echo ' # '; echo ff > {DEFAULT}"), {MASK: "volatile"}),
    "a script that looks": (script("test -e /proc/irq/9/smp_affinity && cat /proc/irq/9/smp_affinity"), RIGHT),
    "a script that another one runs": (script("exec /usr/sbin/set_irq_affinity.sh eth0"), UNKNOWN),
    "a script of that name": (
        {**service("ExecStart=/opt/set_irq_affinity"), "/opt/set_irq_affinity": f"#!/bin/sh\necho f3 > {DEFAULT}\n"},
        RIGHT,
    ),
    # --- its settings ---
    "other settings": (configured("housekeeping: 0-7\nqueues: {eth0: 0-7}\n"), AT_BOOT),
    "other settings for the queues": (configured("housekeeping: 0-1,4-7\nqueues: {eth0: 0-7}\n"), {QUEUES: "volatile"}),
    "the same settings": (configured("housekeeping: 4-7,0,1\nqueues: {eth0: 1}\n"), RIGHT),
    "fewer CPUs in the settings": (configured("housekeeping: 0-1\nqueues: {eth0: 1}\n"), RIGHT),
    "settings with no word on it": (configured("log: debug\n"), UNKNOWN),
    "ours, in a condition": (
        {UNIT: golden.FILES[UNIT].replace("ExecStart=", "ExecCondition=/usr/bin/test -e /etc/x\nExecStart=", 1)},
        {"irq_affinity.queues.eth0": "unknown"},
    ),
    "settings refused": ({**configured(""), SETTINGS: "!EACCES"}, UNKNOWN),
    "settings of a script that has a word on it": (
        configured("housekeeping: 0-7\n", "#!/bin/sh\n# smp_affinity\n"),
        RIGHT,
    ),
    "the role's, with other settings": (
        {
            UNIT: golden.FILES[UNIT].replace("/etc/hosttune/profile.d/irq_affinity.yml", SETTINGS),
            SETTINGS: "housekeeping: 0-7\nqueues: {eth0: 1}\n",
        },
        {MASK: "volatile"},
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
