"""Hosts with CPUs that the boot leaves offline, other kernels, links to links, and menus in other words of GRUB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected, Hosts
from tests.unit.hosttune.test_corpus_boot import (
    ALL_BOOT,
    ENV,
    GRUB,
    ISOLATED,
    LINE,
    MANAGED,
    NOHZ,
    PAGES,
    RCU,
    boot,
    coming,
    more,
    pages,
)

RELEASE = "6.1.0-28-amd64"


def kernel(release: str, changes: Changes) -> Changes:
    """The host with another kernel, now and at the next boot."""
    grub = changes.get(GRUB) or golden.FILES[GRUB]
    builtin = {f"/lib/modules/{release}/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\n"}
    return {**changes, **builtin, GRUB: grub.replace(RELEASE, release), "/proc/sys/kernel/osrelease": f"{release}\n"}


def cores(*pairs: tuple[int, int]) -> Changes:
    """Cores with two hardware threads each."""
    path = f"{golden.CPUS}/cpu{{}}/topology/thread_siblings_list"
    return {path.format(cpu): f"{pair[0]},{pair[1]}\n" for pair in pairs for cpu in pair}


def gigantic(words: str) -> Changes:
    """Two pages of 1 GiB on node 0, by these words."""
    text = golden.PROFILES["hugepages"].replace(
        "  transparent", "    1G:\n      node0: 2\n      node1: 0\n  transparent"
    )
    paths = ("/etc/hosttune/profile.d/hugepages.yml", "/var/lib/hosttune/stated/hugepages.yml")
    pool = f"{golden.NODES}/node0/hugepages/hugepages-1048576kB/nr_hugepages"
    return {**more(words), **dict.fromkeys(paths, text), pool: "2\n"}


def ticks(cpus: str) -> Changes:
    """Other CPUs are free of ticks than are isolated, by the profile and by both lines."""
    text = golden.PROFILES["cpu_isolation"].replace("nohz_full: 2-3", f"nohz_full: {cpus}")
    paths = ("/etc/hosttune/profile.d/cpu_isolation.yml", "/var/lib/hosttune/stated/cpu_isolation.yml")
    line = boot("nohz_full=2-3", f"nohz_full={cpus}")
    return {**line, **dict.fromkeys(paths, text), f"{golden.CPUS}/nohz_full": f"{cpus}\n"}


def red_hat(words: str, end: str = "blscfg\n") -> Changes:
    """The menu as RHEL has it."""
    return {
        GRUB: None,
        ENV: None,
        "/boot/grub2/grub.cfg": f'set default="0"\n{end}',
        "/boot/loader/entries/a.conf": f"title RHEL\nlinux /vmlinuz-{RELEASE}\noptions root=/dev/x ro {words}\n",
    }


CORE_2 = f"{golden.CPUS}/cpu2/topology/thread_siblings_list"
SECOND = cores((0, 2), (1, 3), (4, 6), (5, 7))
WARNED: Expected = {"cpu_isolation.siblings": "warn"}
SYSCTL, OWN = "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf", "/etc/desk/rt.conf"
BUFFERS: Expected = {"net_buffers.": "volatile"}
UBUNTU, RHEL = "5.15.0-91-generic", "5.14.0-362.8.1.el9_3.x86_64"
BY_NODE = "hugepagesz=2M hugepages=0:512,1:256"
ONE_G = "hugepagesz=1G hugepages=0:2,1:0"
HOSTS: Hosts = {
    "fewer CPUs, in hexadecimal": (more("maxcpus=0x8 nr_cpus=0 possible_cpus=64"), {}),
    "one CPU alone": ({GRUB: more("nosmp")[GRUB]}, {ISOLATED: "volatile"}),
    "none but the boot CPU": ({GRUB: more("maxcpus=0")[GRUB]}, {ISOLATED: "volatile"}),
    "only some CPUs are possible": ({GRUB: more("possible_cpus=3")[GRUB]}, {ISOLATED: "volatile"}),
    "the smallest of the numbers of CPUs": ({GRUB: more("nr_cpus=3 nr_cpus=8")[GRUB]}, {ISOLATED: "volatile"}),
    "no second threads, and none there": (more("nosmt"), {}),
    "no second threads, first ones isolated": (
        {**more("nosmt=force"), **cores((0, 4), (1, 5), (2, 6), (3, 7)), f"{golden.CPUS}/online": "0-3\n"},
        {},
    ),
    "no second threads, and they are isolated": (
        {GRUB: more("nosmt")[GRUB], **SECOND},
        {ISOLATED: "volatile", **WARNED},
    ),
    "no second threads, by force": ({GRUB: more("nosmt=force")[GRUB], **SECOND}, {ISOLATED: "volatile", **WARNED}),
    **{
        f"no second threads if a CPU has the fault: {word}": (
            {GRUB: more(word)[GRUB], **SECOND},
            {ISOLATED: "unknown", **WARNED},
        )
        for word in (
            "mitigations=auto,nosmt",
            "mds=full,nosmt",
            "tsx_async_abort=full,nosmt",
            "mmio_stale_data=full,nosmt",
            "l1tf=flush,nosmt",
            "l1tf=full",
            "retbleed=auto,nosmt",
            "mds=full,nosmt mds=full",
        )
    },
    **{
        f"no such word: {word}": ({GRUB: more(word)[GRUB], **SECOND}, WARNED)
        for word in (
            "mitigations=off",
            "mds=full,nosmt mds=off",
            "mitigations=auto,nosmt mitigations=auto",
            "mds=full,nosmt mitigations=off",
            "l1tf=flush",
        )
    },
    "no second threads if a CPU has the fault, first ones isolated": (
        {GRUB: more("mds=full,nosmt")[GRUB], **cores((0, 4), (1, 5), (2, 6), (3, 7))},
        WARNED,
    ),
    "no second threads if a CPU has the fault, and it has none": ({**more("mds=full,nosmt"), **SECOND}, WARNED),
    "no second threads, cores not readable": (
        {GRUB: more("nosmt")[GRUB], CORE_2: "!EACCES"},
        {ISOLATED: "unknown", "cpu_isolation.siblings": "unknown"},
    ),
    "no second threads, the first of a core may be offline": (
        {GRUB: more("nosmt")[GRUB], f"{golden.CPUS}/online": "1-7\n"},
        {ISOLATED: "unknown"},
    ),
    # --- other kernels ---
    "the tick of other CPUs": (ticks("1-3"), {}),
    "the tick of other CPUs, before Linux 5.18": (kernel(UBUNTU, ticks("1-3")), {NOHZ: "volatile"}),
    "the tick of the same CPUs, before Linux 5.18": (kernel(UBUNTU, {}), {}),
    "the tick of other CPUs, and this boot shows that it works": (kernel(RHEL, ticks("1-3")), {}),
    "the tick of other CPUs, by a kernel with much of later ones": (
        kernel(RHEL, coming("nohz_full=2-3", "nohz_full=1-3")),
        {ISOLATED: "unknown", MANAGED: "unknown", NOHZ: "unknown", RCU: "unknown"},
    ),
    "pages for each node, before Linux 5.16": (kernel(UBUNTU, pages(BY_NODE)), {PAGES: "volatile"}),
    "pages for each node, by the menu's older kernel": (
        {**pages(BY_NODE), GRUB: pages(BY_NODE)[GRUB].replace(RELEASE, UBUNTU)},
        {PAGES: "volatile"},
    ),
    "pages for each node, and the menu does not name the kernel": (
        {**kernel(UBUNTU, pages(BY_NODE)), GRUB: pages(BY_NODE)[GRUB].replace(f"-{RELEASE}", "")},
        {PAGES: "volatile"},
    ),
    "pages in total, before Linux 5.16": (kernel(UBUNTU, pages("hugepages=1024")), {}),
    "pages for each node, and this boot shows that it works": (kernel(RHEL, pages(BY_NODE)), {}),
    "pages for each node, by a kernel with much of later ones": (
        kernel(RHEL, {**pages(BY_NODE), LINE: golden.FILES[LINE]}),
        {PAGES: "unknown"},
    ),
    "pages of 1 GiB": (gigantic(ONE_G), {}),
    "pages of 1 GiB, and an area for them": (gigantic(f"{ONE_G} hugetlb_cma=4G"), {"hugepages.1G.node0": "volatile"}),
    "pages of 1 GiB, and areas for them": (
        gigantic(f"hugetlb_cma=0:2G,1:2G {ONE_G}"),
        {"hugepages.1G.node0": "volatile"},
    ),
    "pages of 1 GiB, and an area, since Linux 6.15": (
        {**gigantic(f"{ONE_G} hugetlb_cma=4G"), GRUB: more(f"{ONE_G} hugetlb_cma=4G")[GRUB].replace(RELEASE, "6.16.3")},
        {"hugepages.1G.node0": "unknown"},
    ),
    "pages of 1 GiB, and no area": (gigantic(f"{ONE_G} hugetlb_cma=0"), {}),
    "pages of 1 GiB, and too small an area": (gigantic(f"{ONE_G} hugetlb_cma=512M"), {}),
    "pages of 2 MiB, and an area for others": (pages(f"{BY_NODE} hugetlb_cma=4G"), {}),
    # --- links by way of links ---
    "a link to a link to what is gone": (
        {SYSCTL: f"-> {OWN}", OWN: "-> /run/rt", "/run/rt": golden.FILES[SYSCTL]},
        BUFFERS,
    ),
    "a link to a link": (
        {SYSCTL: f"-> {OWN}", OWN: "-> ../rt.conf", "/etc/rt.conf": golden.FILES[SYSCTL]},
        {},
    ),
    "a link to a link to nothing": ({"/etc/sysctl.d/x.conf": f"-> {OWN}", OWN: "-> /dev/null"}, {}),
    # --- GRUB's shell ---
    "a comment behind the kernel": (coming(golden.BOOT, f"# {golden.BOOT}"), ALL_BOOT),
    "a comment behind the arguments": (coming(golden.BOOT, f'{golden.BOOT} # "unclosed ('), {}),
    "no comment within a word": (coming(golden.BOOT, f"a#b {golden.BOOT}"), {}),
    "a quoted number sign": (coming(golden.BOOT, f"'#' {golden.BOOT}"), {}),
    "another command behind the kernel": (coming(golden.BOOT, f"; echo {golden.BOOT}"), ALL_BOOT),
    "a line that goes on": (coming(golden.BOOT, golden.BOOT.replace(" ", " \\\n\t\t")), {}),
    "a comment that does not go on": (coming(golden.BOOT, f"# x \\\n{golden.BOOT}"), ALL_BOOT),
    "a quote that is not closed": (
        coming(golden.BOOT, f"{golden.BOOT} 'x"),
        dict.fromkeys(ALL_BOOT, "unknown"),
    ),
    "an entry on a line": (
        {GRUB: f"menuentry a {{ linux /boot/vmlinuz-{RELEASE} ro {golden.BOOT}; initrd /boot/initrd.img; }}\n"},
        {},
    ),
    "entries of the Boot Loader Specification": (red_hat(golden.BOOT), {}),
    "entries of it without the arguments": (red_hat("quiet"), ALL_BOOT),
    "entries of it with a comment": (red_hat(f"# {golden.BOOT}"), ALL_BOOT),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
