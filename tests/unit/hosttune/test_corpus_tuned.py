"""Hosts where TuneD runs with a profile of the desk's own, which sets something of what the roles set, or does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected

UNIT = "/usr/lib/systemd/system/tuned.service"
THP = "/sys/kernel/mm/transparent_hugepage"
POOL = f"{golden.NODES}/node0/hugepages/hugepages-2048kB/nr_hugepages"
NEVER, NODE0, POOLS, TUNED = "hugepages.transparent", "hugepages.2M.node0", "hugepages.2M.", "other_owners.tuned"
RMEM = "net_buffers.net.ipv4.tcp_rmem"

#: The sections of the profile, and what becomes of which findings.
PROFILES: dict[str, tuple[str, Expected]] = {
    "nothing of ours": ("[sysfs]\n/sys/bus/workqueue/devices/writeback/cpumask=3\n[cpu]\ngovernor=performance\n", {}),
    "a policy": (f"[sysfs]\n{THP}/enabled=always\n", {NEVER: "volatile"}),
    "a policy of a section of another name": (f"[thp]\ntype=sysfs\n{THP}/enabled = madvise\n", {NEVER: "volatile"}),
    "the wanted policy": (f"[sysfs]\n{THP}/enabled=never\n", {}),
    "a policy by a pattern": ("[sysfs]\n/sys/kernel/mm/*/enabled=always\n", {NEVER: "volatile"}),
    "a policy by a longer path": (
        f"[sysfs]\n/sys/.{THP.removeprefix('/sys')}/enabled=always\n",
        {NEVER: "volatile"},
    ),
    "a policy by a variable": (f"[sysfs]\n{THP}/enabled=${{policy}}\n", {NEVER: "unknown"}),
    "no policy": (f"[sysfs]\n{THP}/enabled=often\n", {}),
    "what is no policy": (f"[sysfs]\n{THP}/defrag=always\n", {}),
    "a policy of a size": (f"[sysfs]\n{THP}/hugepages-64kB/enabled=always\n", {NEVER: "volatile"}),
    "a harmless policy of a size": (f"[sysfs]\n{THP}/hugepages-*kB/enabled=inherit\n", {}),
    "a section that does not count": (f"[sysfs]\nenabled=0\n{THP}/enabled=always\n", {}),
    "no pages of a node": (f"[sysfs]\n{POOL}=0\n", {NODE0: "volatile"}),
    "fewer pages of each node": (
        f"[sysfs]\n{golden.NODES}/node*/hugepages/hugepages-2048kB/nr_hugepages=300\n",
        {NODE0: "volatile"},
    ),
    "more pages of a node": (f"[sysfs]\n{POOL}=600\n", {}),
    "pages by a variable": (f"[sysfs]\n{POOL}=${{pages}}\n", {NODE0: "unknown"}),
    "pages of another size": (f"[sysfs]\n{POOL.replace('2048', '1048576')}=1\n", {}),
    "pages of all nodes": (
        "[sysfs]\n/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages=768\n",
        {POOLS: "unknown"},
    ),
    "pages by a sysctl": ("[sysctl]\nvm.nr_hugepages=0\n", {POOLS: "unknown"}),
    "irqbalance": ("[irqbalance]\nbanned_cpus=4\n", {TUNED: "warn"}),
    "CPUs of services": ("[systemd]\ncpu_affinity=0-7\n", {TUNED: "warn"}),
    "a default affinity": ("[scheduler]\ndefault_irq_smp_affinity=0-7\n", {TUNED: "warn"}),
    "no default affinity": ("[scheduler]\ndefault_irq_smp_affinity=ignore\n", {}),
    "a script": ("[script]\nscript=${i:PROFILE_DIR}/script.sh\n", {TUNED: "unknown"}),
    "a script of another section": ("[mine]\ntype=script\nscript=script.sh\n", {TUNED: "unknown"}),
    "no script": ("[script]\nscript=\n", {}),
    "a script that does not count": ("[script]\nenabled=false\nscript=script.sh\n", {}),
    "the value in quotes": ('[sysctl]\nnet.ipv4.tcp_rmem="4096 131072 67108864"\n', {}),
    "another value in quotes": ('[sysctl]\nnet.ipv4.tcp_rmem="4096 131072 6291456"\n', {RMEM: "volatile"}),
}


def tuned(profile: str, main: str = "reapply_sysctl = 0\n") -> Changes:
    return {
        UNIT: "[Service]\nExecStart=/usr/sbin/tuned -l -P\n",
        f"{golden.UNITS}/multi-user.target.wants/tuned.service": f"-> {UNIT}",
        "/etc/tuned/active_profile": "mine\n",
        "/etc/tuned/profile_mode": "manual\n",
        "/etc/tuned/tuned-main.conf": main,
        "/etc/tuned/mine/tuned.conf": f"[main]\nsummary=x\n{profile}",
    }


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    profile, expected = PROFILES[name]
    corpus.assert_judged(tuned(profile), expected, fake_host, tmp_path)


def test_a_policy_of_the_command_line_does_not_win_over_a_file(fake_host: type[Any], tmp_path: Path) -> None:
    """Only TuneD's own option leaves the policy alone then (`plugins/plugin_vm.py`)."""
    line = corpus.replace("/proc/cmdline", golden.BOOT, f"{golden.BOOT} transparent_hugepage=never")
    corpus.assert_judged({**line, **tuned("[vm]\ntransparent_hugepages=always\n")}, {}, fake_host, tmp_path)
    profile = f"[sysfs]\n{THP}/enabled=always\n"
    corpus.assert_judged({**line, **tuned(profile)}, {NEVER: "volatile"}, fake_host, tmp_path)
