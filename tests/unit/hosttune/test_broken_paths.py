"""A path that a check reads is broken: no finding that hangs on it passes, and nothing raises or takes long."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hosttune import checker, profile
from hosttune.host.root import Fact
from tests.cpu_time import is_within
from tests.unit.hosttune import broken, golden

#: Where a finding passes all the same, since something else that was read proves it; by the beginning of its id.
PROVEN = {
    # The link of the interface was read, so there is one.
    ("list", "/sys/class/net", "*"): "irq_affinity.queues.",
    # An interface whose qdisc is right is right whether a driver stands behind it or not.
    ("link", "/sys/class/net/eth0/device", "*"): "tcp_bbr.qdisc.eth0",
    # It is where every interrupt that is not a queue's may be; of the queues nothing is known, and a finding says so.
    ("list", f"{golden.PCI}/msi_irqs", "refused"): "irq_affinity.irq.",
    # A kernel without it has no other list of CPUs than that of its directories.
    ("read", f"{golden.CPUS}/possible", "missing"): ("irq_affinity.irqbalance", "cpu_isolation."),
    # Kernels without effective affinities deliver to those that are allowed.
    **{("read", f"/proc/irq/{n}/effective_affinity_list", "missing"): "irq_affinity." for n in (0, 9, 28, 29, 30)},
    # The row of /proc/interrupts names the handlers too.
    **{("read", f"/sys/kernel/irq/{n}/actions", "*"): "irq_affinity." for n in (0, 9, 28, 29, 30)},
    # Surplus pages are a warning, and kernels without that file have none.
    **{
        ("read", f"{golden.NODES}/node{n}/hugepages/hugepages-2048kB/surplus_hugepages", "missing"): "hugepages."
        for n in (0, 1)
    },
}


@pytest.mark.parametrize("section", sorted(golden.PROFILES))
def test_no_finding_passes_that_hangs_on_what_was_not_read(section: str, fake_host: type[Any]) -> None:
    host = golden.make_host(fake_host)
    wanted = profile.load_text(golden.PROFILES[section], "p.yml")
    recorded = broken.Recorded(host)
    assert set(broken.judge(wanted, recorded).values()) == {"pass"}
    assert len(recorded.asked) > 10
    wrong: list[Any] = []
    hung: set[str] = set()
    for (kind, path), fact in recorded.asked.items():
        hanging = broken.find_hanging(wanted, host, kind, path, fact)
        hung |= hanging
        for name, broke in broken.list_breaks(fact, path):
            begin = time.process_time()
            found = broken.judge(wanted, broken.OnePath(host, kind, path, broke))
            assert is_within(time.process_time() - begin, 1), (kind, path, name)
            excused = PROVEN.get((kind, path, name)) or PROVEN.get((kind, path, "*")) or "no finding"
            failed = [id for id in hanging if found.get(id) == "pass" and not id.startswith(excused)]
            wrong += [(kind, path, name, failed)] if failed else []
            assert "check failed" not in str(found), (kind, path, name)
    assert wrong == []
    assert hung == set(broken.judge(wanted, host)), "the probes miss what these findings hang on"


@pytest.mark.parametrize("share", [3, 2])
@pytest.mark.parametrize(
    "path", ["/proc/interrupts", "/proc/31/status", "/proc/900/task/901/status", "/proc/900/limits"]
)
def test_a_file_of_the_kernels_that_is_cut_off_makes_no_host_ready(path: str, share: int, fake_host: type[Any]) -> None:
    host = golden.make_host(fake_host)
    host.files[path] = host.files[path][: len(host.files[path]) // share]
    found = broken.judge(profile.load(None, host), host)
    assert {"fail", "unknown"} & set(found.values())


def test_a_process_that_has_ended_is_none(fake_host: type[Any]) -> None:
    host = golden.make_host(fake_host)
    gone = [path for path in host.files if path.startswith("/proc/12/")]
    listing = host.list("/proc")
    for path in gone:
        del host.files[path]
    later = broken.OnePath(host, "list", "/proc", listing)
    assert set(broken.judge(profile.load(None, host), later).values()) == {"pass"}


def test_a_reading_that_fails_is_told_with_its_path(fake_host: type[Any]) -> None:
    host = golden.make_host(fake_host)
    refused = broken.OnePath(host, "list", "/proc/900/task", Fact("unreadable", None, "/proc/900/task", "EACCES"))
    report = checker.run_checks(profile.load(None, host), refused)
    threads = next(each for each in report.findings if each.id == "cpu_isolation.threads")
    assert (threads.status, threads.hops["runtime"].value) == ("unknown", "/proc/900/task: EACCES")
