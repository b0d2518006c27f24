"""Hosts with something of the boot broken, or merely written otherwise: arguments, GRUB, tmpfiles.d, services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected, Hosts

GRUB, LINE, ENV = "/boot/grub/grub.cfg", "/proc/cmdline", "/boot/grub/grubenv"
TMPFILES = "/etc/tmpfiles.d/00-hosttune-hugepages.conf"
POOL = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
THP = "/sys/kernel/mm/transparent_hugepage"
WANTS = f"{golden.UNITS}/multi-user.target.wants"
PAGES, PAGES0, NEVER = "hugepages.2M.", "hugepages.2M.node0", "hugepages.transparent"
ISOLATED, MANAGED = "cpu_isolation.isolated", "cpu_isolation.managed_irq"
NOHZ, RCU, AFFINITY = "cpu_isolation.nohz_full", "cpu_isolation.rcu_nocbs", "cpu_isolation.irqaffinity"
ISOLCPUS = "isolcpus=managed_irq,domain,2-3"
LATE: Expected = {ISOLATED: "volatile", MANAGED: "volatile"}


def boot(old: str, new: str) -> Changes:
    """Both this boot's line and the next one's have `new` in place of `old`."""
    assert old in golden.BOOT
    changed = golden.BOOT.replace(old, new)
    return {path: golden.FILES[path].replace(golden.BOOT, changed) for path in (GRUB, LINE)}


def coming(old: str, new: str) -> Changes:
    """The next boot's line alone."""
    return {GRUB: boot(old, new)[GRUB]}


def more(words: str) -> Changes:
    return boot(golden.BOOT, f"{golden.BOOT} {words}")


def pages(words: str) -> Changes:
    """Pages by the boot line in place of tmpfiles.d."""
    return {**more(words), TMPFILES: f"w {THP}/enabled - - - - never\n"}


def tmpfiles(*lines: str) -> Changes:
    return {TMPFILES: "\n".join([*lines, f"w {THP}/enabled - - - - never", ""])}


def thp(line: str) -> Changes:
    kept = golden.FILES[TMPFILES].splitlines()[:2]
    return {TMPFILES: "\n".join([*kept, line, ""])}


def service(command: str, name: str = "thp.service", unit: str = "") -> Changes:
    """A service that writes at boot is the one that sets the policy."""
    return {
        **thp("# nothing here"),
        f"{golden.UNITS}/{name}": f"[Unit]\nDescription=x\n{unit}[Service]\nType=oneshot\n{command}\n",
        f"{WANTS}/{name}": f"-> {golden.UNITS}/{name}",
    }


def menu(*, default: str = "0", second: str = "", end: str = "") -> Changes:
    """A second entry without the arguments, or with these."""
    text = "load_env\n" + golden.FILES[GRUB].replace('set default="0"', f"set default={default}")
    entry = f"menuentry 'Old' --id old {{\n\tlinux /boot/vmlinuz-5 root=UUID=1-2 ro {second}\n}}\n"
    return {GRUB: f"{text}{entry}{end}"}


SOURCE = "if [ -f  ${config_directory}/custom.cfg ]; then\n  source ${config_directory}/custom.cfg\nfi\n"
MANAGER = "/etc/systemd/system.conf.d/hosttune-cpu_isolation.conf"
ALL_BOOT: Expected = dict.fromkeys((ISOLATED, MANAGED, NOHZ, RCU, AFFINITY), "volatile")


def sizes(of_64: str, of_2048: str = "always [inherit] madvise never") -> Changes:
    return {
        f"{THP}/hugepages-64kB/enabled": f"{of_64}\n",
        f"{THP}/hugepages-2048kB/enabled": f"{of_2048}\n",
    }


HOSTS: Hosts = {
    # --- isolcpus=, nohz_full=, rcu_nocbs=, irqaffinity= ---
    "flags in another order": (boot(ISOLCPUS, "isolcpus=domain,managed_irq,2-3"), {}),
    "one CPU and one": (boot(ISOLCPUS, "isolcpus=managed_irq,domain,2,3"), {}),
    "in descending order": (boot(ISOLCPUS, "isolcpus=managed_irq,domain,3,2"), {}),
    "a stride": (boot(ISOLCPUS, "isolcpus=managed_irq,domain,2-3:2/2"), {}),
    "a stride that leaves one out": (coming(ISOLCPUS, "isolcpus=managed_irq,domain,2-3:1/2"), LATE),
    "quotes around the value": (boot(ISOLCPUS, 'isolcpus="managed_irq,domain,2-3"'), {}),
    "quotes around all": (boot(ISOLCPUS, '"isolcpus=managed_irq,domain,2-3"'), {}),
    "a comma at the end": (boot(ISOLCPUS, f"{ISOLCPUS},"), {}),
    "zeros in front": (boot(ISOLCPUS, "isolcpus=managed_irq,domain,02-03"), {}),
    "the tick too": (boot(ISOLCPUS, "isolcpus=nohz,managed_irq,domain,2-3"), {}),
    "the tick by isolcpus= alone": (
        boot(f"{ISOLCPUS} nohz_full=2-3", "isolcpus=nohz,managed_irq,domain,2-3"),
        {},
    ),
    "no flags": (coming(ISOLCPUS, "isolcpus=2-3"), {MANAGED: "volatile"}),
    "managed alone": (coming(ISOLCPUS, "isolcpus=managed_irq,2-3"), {ISOLATED: "volatile"}),
    "two parameters": (boot(ISOLCPUS, "isolcpus=managed_irq,2-3 isolcpus=2-3"), {}),
    "two that contradict": (coming(ISOLCPUS, f"{ISOLCPUS} isolcpus=managed_irq,domain,4-5"), {}),
    "two that contradict, the first wrong": (coming(ISOLCPUS, f"isolcpus=managed_irq,domain,2 {ISOLCPUS}"), LATE),
    "the same twice": (boot(ISOLCPUS, f"{ISOLCPUS} {ISOLCPUS}"), {}),
    "an unknown flag": (boot(ISOLCPUS, "isolcpus=foo,managed_irq,domain,2-3"), {}),
    "an illegal flag": (coming(ISOLCPUS, "isolcpus=man4ged,domain,2-3"), LATE),
    "the flags behind": (coming(ISOLCPUS, "isolcpus=2-3,managed_irq,domain"), LATE),
    "a blank in the list": (coming(ISOLCPUS, "isolcpus=managed_irq,domain,2, 3"), LATE),
    "capitals": (coming(ISOLCPUS, "ISOLCPUS=managed_irq,domain,2-3"), LATE),
    "with a dash": (coming("rcu_nocbs", "rcu-nocbs"), {}),
    "nohz-full": (coming("nohz_full", "nohz-full"), {}),
    "a CPU too many": (coming(ISOLCPUS, "isolcpus=managed_irq,domain,2-4"), LATE),
    "a CPU beyond the last": (coming(ISOLCPUS, "isolcpus=managed_irq,domain,2-8"), LATE),
    "backwards": (coming(ISOLCPUS, "isolcpus=managed_irq,domain,3-2"), LATE),
    "hexadecimal": (coming(ISOLCPUS, "isolcpus=managed_irq,domain,0xc"), LATE),
    "behind two dashes": (coming(golden.BOOT, f"-- {golden.BOOT}"), ALL_BOOT),
    "all gone": (coming(golden.BOOT, ""), ALL_BOOT),
    "a prefix of a module": (coming(ISOLCPUS, f"sched.{ISOLCPUS}"), LATE),
    "no nohz_full": (coming("nohz_full=2-3", ""), {NOHZ: "volatile"}),
    "nohz_full of one": (coming("nohz_full=2-3", "nohz_full=2"), {NOHZ: "volatile"}),
    "nohz_full of other CPUs by isolcpus": (
        coming(golden.BOOT, golden.BOOT.replace("isolcpus=", "isolcpus=nohz,").replace("nohz_full=2-3", "nohz_full=2")),
        {},
    ),
    "the tick is never stopped": (coming("nohz_full=2-3", "nohz_full=2-3 nohz=off"), {NOHZ: "volatile"}),
    "the tick is never stopped, since this boot": (boot("nohz_full=2-3", "nohz_full=2-3 nohz=off"), {NOHZ: "fail"}),
    "the tick may be stopped": (boot("nohz_full=2-3", "nohz_full=2-3 nohz=on"), {}),
    "rcu_nocbs is implied": (boot("rcu_nocbs=2-3 ", ""), {}),
    "rcu_nocbs of all": (boot("rcu_nocbs=2-3", "rcu_nocbs=all"), {}),
    "rcu_nocbs up to the last": (boot("rcu_nocbs=2-3", "rcu_nocbs=2-N"), {}),
    "irqaffinity up to the last": (boot("irqaffinity=0-1,4-7", "irqaffinity=0-1,4-N"), {}),
    "irqaffinity without the boot CPU": (boot("irqaffinity=0-1,4-7", "irqaffinity=1,4-7"), {}),
    "irqaffinity of all": (
        coming("irqaffinity=0-1,4-7", "irqaffinity=all"),
        {AFFINITY: "volatile"},
    ),
    "irqaffinity twice": (
        coming("irqaffinity=0-1,4-7", "irqaffinity=0-1,4-7 irqaffinity=0-3"),
        {AFFINITY: "volatile"},
    ),
    "irqaffinity once wrong and then right": (boot("irqaffinity=0-1,4-7", "irqaffinity=0-3 irqaffinity=0-1,4-7"), {}),
    "fewer CPUs are brought up": (more("maxcpus=8"), {}),
    "only some CPUs are brought up": ({GRUB: more("maxcpus=3")[GRUB]}, {ISOLATED: "volatile"}),
    # --- huge pages by the boot line ---
    "pages by the line": (pages("hugepagesz=2M hugepages=0:512,1:256"), {}),
    "the default size": (pages("hugepages=0:512,1:256"), {}),
    "the size in kB": (pages("hugepagesz=2048K hugepages=0:512,1:256"), {}),
    "the size in hexadecimal": (pages("hugepagesz=0x200000 hugepages=0:512,1:256"), {}),
    "in total": (pages("hugepages=1024"), {}),
    "in total, too few": (pages("hugepages=700"), {PAGES0: "volatile"}),
    "the second pair is ignored": (
        pages("hugepagesz=2M hugepages=0:512,1:256 hugepagesz=2M hugepages=0:1,1:0"),
        {},
    ),
    "the first pair is wrong": (
        pages("hugepagesz=2M hugepages=0:1,1:0 hugepagesz=2M hugepages=0:512,1:256"),
        {PAGES: "volatile"},
    ),
    "two sizes": (pages("hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=0:512,1:256"), {}),
    "the size behind": (pages("hugepages=0:512,1:256 hugepagesz=1G hugepages=0:0"), {}),
    "another default size": (
        pages("default_hugepagesz=1G hugepagesz=2M hugepages=0:512,1:256"),
        {},
    ),
    "of a node that is not there": (pages("hugepages=0:512,7:256"), {PAGES: "volatile"}),
    "a size that is none": (pages("hugepagesz=3M hugepages=0:512,1:256"), {PAGES: "volatile"}),
    "one node from the next boot on": ({GRUB: more("numa=off")[GRUB]}, {PAGES: "unknown"}),
    "other nodes from the next boot on": ({GRUB: more("numa=fake=4")[GRUB]}, {PAGES: "unknown"}),
    "the nodes that this boot has": (more("numa=noacpi"), {}),
    "a word on nodes that is none": ({GRUB: more("numa=on")[GRUB]}, {}),
    # --- tmpfiles.d ---
    "nodes by a glob": (tmpfiles(f"w {POOL.format('*')} - - - - 512"), {}),
    "nodes by a class": (tmpfiles(f"w {POOL.format('[01]')} - - - - 512"), {}),
    "nodes by braces": (tmpfiles(f"w {POOL.format('{0,1}')} - - - - 512"), {}),
    "nodes by a glob, too few": (tmpfiles(f"w {POOL.format('*')} - - - - 256"), {PAGES0: "volatile"}),
    "a glob beside the names": (
        tmpfiles(*golden.FILES[TMPFILES].splitlines()[:2], f"w {POOL.format('?')} - - - - 1"),
        {PAGES: "volatile"},
    ),
    "only at boot": (thp(f"w! {THP}/enabled - - - - never"), {}),
    "errors are no matter": (thp(f"w- {THP}/enabled - - - - never"), {}),
    "appended": (thp(f"w+ {THP}/enabled - - - - never"), {}),
    "a file is made": (thp(f"f+ {THP}/enabled - - - - never"), {}),
    "a file is made if it is not there": (thp(f"f {THP}/enabled - - - - never"), {NEVER: "volatile"}),
    "a directory": (thp(f"d {THP}/enabled - - - - never"), {NEVER: "volatile"}),
    "a letter that is none": (thp(f"W {THP}/enabled - - - - never"), {NEVER: "volatile"}),
    "with a mode": (thp(f"w {THP}/enabled 0644 root root - never"), {}),
    "one column too few": (thp(f"w {THP}/enabled - - - never"), {NEVER: "volatile"}),
    "tabs": (thp(f"w\t{THP}/enabled\t-\t-\t-\t-\tnever"), {}),
    "CRLF": ({TMPFILES: golden.FILES[TMPFILES].replace("\n", "\r\n")}, {}),
    "a remark behind": (thp(f"w {THP}/enabled - - - - never # no pauses"), {NEVER: "volatile"}),
    "in quotes": (thp(f'w "{THP}/enabled" - - - - never'), {}),
    "the argument in quotes": (thp(f'w {THP}/enabled - - - - "never"'), {NEVER: "volatile"}),
    "with an end of line": (thp(f"w {THP}/enabled - - - - never\\n"), {}),
    "the argument in capitals": (thp(f"w {THP}/enabled - - - - NEVER"), {NEVER: "volatile"}),
    "two slashes": (thp(f"w {THP}//enabled - - - - never"), {}),
    "a comment": (thp(f"#w {THP}/enabled - - - - never"), {NEVER: "volatile"}),
    "a later file repeats the path": ({"/etc/tmpfiles.d/zz.conf": f"w {THP}/enabled - - - - always\n"}, {}),
    "an earlier file": ({"/etc/tmpfiles.d/00-a.conf": f"w {THP}/enabled - - - - always\n"}, {NEVER: "volatile"}),
    "a later file by a glob": ({"/etc/tmpfiles.d/zz.conf": f"w {THP}/enable? - - - - always\n"}, {NEVER: "volatile"}),
    "an earlier file below /usr/lib": (
        {"/usr/lib/tmpfiles.d/00-a.conf": f"w {THP}/enabled - - - - always\n"},
        {NEVER: "volatile"},
    ),
    "an earlier file, masked": (
        {
            "/usr/lib/tmpfiles.d/00-a.conf": f"w {THP}/enabled - - - - always\n",
            "/etc/tmpfiles.d/00-a.conf": "-> /dev/null",
        },
        {},
    ),
    "an earlier file below /run": ({"/run/tmpfiles.d/00-a.conf": f"w {THP}/enabled - - - - always\n"}, {}),
    "only below /run": (
        {TMPFILES: None, "/run/tmpfiles.d/x.conf": golden.FILES[TMPFILES]},
        {PAGES: "volatile", NEVER: "volatile"},
    ),
    "only below /usr/local/lib": (
        {TMPFILES: None, "/usr/local/lib/tmpfiles.d/x.conf": golden.FILES[TMPFILES]},
        {},
    ),
    # --- transparent huge pages ---
    "by the line": ({**more("transparent_hugepage=never"), **thp("#")}, {}),
    "by the line, capitals": ({**more("transparent_hugepage=NEVER"), **thp("#")}, {NEVER: "volatile"}),
    "by the line, and then otherwise": (
        {**more("transparent_hugepage=never"), **thp(f"w {THP}/enabled - - - - madvise")},
        {NEVER: "volatile"},
    ),
    "madvise now": ({f"{THP}/enabled": "always [madvise] never\n"}, {NEVER: "fail"}),
    "a size of its own": (sizes("[always] inherit madvise never"), {NEVER: "fail"}),
    "sizes that inherit": (sizes("always [inherit] madvise never"), {}),
    "sizes that are off": (sizes("always inherit madvise [never]", "always inherit madvise [never]"), {}),
    "a size by madvise": (sizes("always inherit [madvise] never"), {NEVER: "fail"}),
    "a size at boot": (
        {**sizes("always inherit madvise [never]"), **more("thp_anon=64K:always")},
        {NEVER: "volatile"},
    ),
    **{
        f"a size at boot: {value}": (
            {
                **sizes("always inherit madvise [never]", "always inherit madvise [never]"),
                **more(f'"thp_anon={value}"'),
            },
            {NEVER: status} if status else {},
        )
        for value, status in (
            ("64k:always", "volatile"),
            ("64KB:always", "volatile"),
            ("65536:madvise", "volatile"),
            ("0x10000:always", "volatile"),
            ("64k-2m:always", "volatile"),
            ("64K:never;2M:always", "volatile"),
            ("64K,2M:never", ""),
            ("64k:always;64K:never", ""),
            ("64k=always", "unknown"),
            ("64k:n*", "unknown"),
        )
    },
    # What the kernel refuses leaves things as they are without it: the largest size inherits.
    **{
        f"a size at boot that is refused: {value}": (
            {**sizes("always inherit madvise [never]"), **more(f'"thp_anon={value}"')},
            {},
        )
        for value in ("64K:sometimes", "64:always", "4M:always", "64K:Always", "48K:always", "64K", "64K:always;", "")
    },
    # --- services ---
    "a service": (service(f"ExecStart=/bin/sh -c 'echo never > {THP}/enabled'"), {}),
    "a service by tee": (service(f"ExecStart=/bin/sh -c 'echo never | tee {THP}/enabled'"), {}),
    "a service, wrong": (service(f"ExecStart=/bin/sh -c 'echo always > {THP}/enabled'"), {NEVER: "volatile"}),
    "a service that resets its command": (
        {
            **service(f"ExecStart=/bin/sh -c 'echo never > {THP}/enabled'"),
            f"{golden.UNITS}/thp.service.d/x.conf": "[Service]\nExecStart=\nExecStart=/bin/true\n",
        },
        {NEVER: "volatile"},
    ),
    "a service whose drop-in is the vendor's": (
        {
            **service("ExecStart=/bin/true"),
            "/usr/lib/systemd/system/thp.service.d/x.conf": "[Service]\n"
            f"ExecStartPost=/bin/sh -c 'echo never > {THP}/enabled'\n",
        },
        {},
    ),
    "a service that is not enabled": (
        {**service(f"ExecStart=/bin/sh -c 'echo never > {THP}/enabled'"), f"{WANTS}/thp.service": None},
        {NEVER: "volatile"},
    ),
    "a service that is masked": (
        {
            **service(f"ExecStart=/bin/sh -c 'echo never > {THP}/enabled'"),
            f"{golden.UNITS}/thp.service": "-> /dev/null",
        },
        {NEVER: "volatile"},
    ),
    "a service of the distribution, masked": (
        {
            "/usr/lib/systemd/system/thp.service": f"[Service]\nExecStart=/bin/sh -c 'echo always > {THP}/enabled'\n",
            f"{golden.UNITS}/thp.service": "-> /dev/null",
            f"{WANTS}/thp.service": "-> /usr/lib/systemd/system/thp.service",
        },
        {},
    ),
    "a service enabled otherwise": (
        {
            **service(f"ExecStart=/bin/sh -c 'echo always > {THP}/enabled'"),
            f"{WANTS}/thp.service": None,
            f"{golden.UNITS}/sysinit.target.requires/thp.service": f"-> {golden.UNITS}/thp.service",
        },
        {NEVER: "volatile"},
    ),
    "a service's command in a comment": (
        service(f"# ExecStart=/bin/sh -c 'echo never > {THP}/enabled'\nExecStart=/bin/true"),
        {NEVER: "volatile"},
    ),
    "rc.local": ({"/etc/rc.local": f"#!/bin/sh -e\necho always > {THP}/enabled\nexit 0\n"}, {NEVER: "volatile"}),
    "rc.local that says the same": ({"/etc/rc.local": f"#!/bin/sh -e\necho never > {THP}/enabled\nexit 0\n"}, {}),
    "rc.local with other things": ({"/etc/rc.local": "#!/bin/sh -e\n/opt/start\nexit 0\n"}, {}),
    # --- GRUB ---
    "a second entry": (menu(), {}),
    "the second is the default": (menu(default='"1"'), ALL_BOOT),
    "the second by its name": (menu(default="Old"), ALL_BOOT),
    "the second by its id": (menu(default='"old"'), ALL_BOOT),
    "the second, and right": (menu(default='"1"', second=golden.BOOT), {}),
    "a default that is not there": (menu(default='"9"'), {}),
    "saved": ({**menu(default='"${saved_entry}"'), ENV: "# GRUB\nsaved_entry=old\n"}, ALL_BOOT),
    "saved, the first": ({**menu(default='"${saved_entry}"'), ENV: "# GRUB\nsaved_entry=0\n"}, {}),
    "for once": (
        {
            GRUB: 'load_env\nif [ "${next_entry}" ]; then\n set default="${next_entry}"\nelse\n set default="0"\nfi\n'
            + str(menu()[GRUB]).replace("load_env\nset default=0\n", ""),
            ENV: "# GRUB\nnext_entry=old\n",
        },
        ALL_BOOT,
    ),
    "custom.cfg with another default": (
        {
            **menu(end=SOURCE),
            "/boot/grub/custom.cfg": "set default=old\n",
        },
        ALL_BOOT,
    ),
    "custom.cfg with an entry more": (
        {
            **menu(end=SOURCE),
            "/boot/grub/custom.cfg": "menuentry 'Rescue' {\n\tlinux /boot/rescue\n}\n",
        },
        {},
    ),
    "no custom.cfg": (
        menu(end=SOURCE),
        {},
    ),
    # --- PID 1 ---
    "PID 1: blanks": (
        {MANAGER: "[Manager]\nCPUAffinity=0 1 4-7\n"},
        {},
    ),
    "PID 1: one by one": (
        {MANAGER: "[Manager]\nCPUAffinity=0,1,4,5\nCPUAffinity=6 7\n"},
        {},
    ),
    "PID 1: N": (
        {MANAGER: "[Manager]\nCPUAffinity=0-1,4-N\n"},
        {"cpu_isolation.systemd": "volatile"},
    ),
    "PID 1: reset": (
        {"/etc/systemd/system.conf.d/zz.conf": "[Manager]\nCPUAffinity=\n"},
        {"cpu_isolation.systemd": "volatile"},
    ),
    "PID 1: more": (
        {"/etc/systemd/system.conf.d/zz.conf": "[Manager]\nCPUAffinity=3\n"},
        {"cpu_isolation.systemd": "volatile"},
    ),
    "PID 1: the wrong section": (
        {"/etc/systemd/system.conf.d/zz.conf": "[Service]\nCPUAffinity=\n"},
        {},
    ),
    "PID 1: by the vendor's file": (
        {
            MANAGER: None,
            "/usr/lib/systemd/system.conf.d/x.conf": "[Manager]\nCPUAffinity=0-1 4-7\n",
        },
        {},
    ),
    "PID 1: below /run": (
        {
            MANAGER: None,
            "/run/systemd/system.conf.d/x.conf": "[Manager]\nCPUAffinity=0-1 4-7\n",
        },
        {"cpu_isolation.systemd": "volatile"},
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
