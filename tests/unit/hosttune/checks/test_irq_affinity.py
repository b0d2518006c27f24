"""irq_affinity: by where interrupts are delivered, who manages them, and what happens at the next boot."""

from __future__ import annotations

import msgspec
import pytest

from hosttune.checks import irq_affinity
from hosttune.checks.irq_affinity import Section
from hosttune.host import irq
from hosttune.host.root import Fact, Observed, Tree

ETC = "/etc/systemd/system"
PCI = "/sys/devices/pci0000:00/0000:00:03.0"
ROWS = {
    24: "IO-APIC 5-edge ttyS0",
    30: "PCI-MSIX-0000:00:03.0 0-edge eth0-rxtx-0",
    31: "PCI-MSIX-0000:00:03.0 1-edge eth0-rxtx-1",
    32: "PCI-MSIX-0000:00:03.0 2-edge eth0-event-2",
    33: "PCI-MSIX-0000:00:04.0 1-edge virtio1-req.2",
    34: "IO-APIC 7-edge",
}
WANTED = Section(housekeeping="0-1", irqbalance="banned", queues={"eth0": "1"})
SETTINGS = 'irq_affinity:\n  housekeeping: "0-1"\n  irqbalance: banned\n  queues:\n    eth0: "1"\n'


def table(counts=None):
    counts = counts or {}
    lines = ["           CPU0       CPU1       CPU2       CPU3"]
    lines += [f"{n}: {' '.join(map(str, counts.get(n, (0, 0, 0, 0))))} {text}" for n, text in ROWS.items()]
    return "\n".join(lines) + "\n"


def affinity(number, mask, effective):
    return {
        f"/proc/irq/{number}/smp_affinity_list": f"{mask}\n",
        f"/proc/irq/{number}/effective_affinity_list": f"{effective}\n",
    }


def files(coming="irqaffinity=0-1", booted="irqaffinity=0-1", default="3"):
    return {
        "/proc/cmdline": f"BOOT_IMAGE=/vmlinuz ro {booted}\n",
        "/boot/grub/grub.cfg": f"menuentry 'Linux' {{\n linux /vmlinuz ro {coming}\n}}\n",
        "/sys/devices/system/cpu/possible": "0-3\n",
        "/proc/1/comm": "systemd\n",
        "/proc/irq/default_smp_affinity": f"{default}\n",
        "/proc/interrupts": table(),
        **affinity(24, "0-1", "0"),
        **affinity(30, "1", "1"),
        **affinity(31, "1", "1"),
        **affinity(32, "0-1", "1"),
        **affinity(33, "0", "0"),
        **affinity(34, "0-3", "3"),
        **{f"{PCI}/msi_irqs/{number}": "msix" for number in (30, 31, 32)},
        f"{ETC}/move.service": "[Service]\nExecStart=/usr/local/lib/move /etc/hosttune/profile.d/irq.yml\n",
        "/usr/local/lib/move": "#!/bin/sh\n... > /proc/irq/$i/smp_affinity_list\n",
        "/etc/hosttune/profile.d/irq.yml": SETTINGS,
    }


@pytest.fixture
def run(fake_host):
    def run(changes=None, wanted=WANTED, counts=None, deny=(), enabled=True, **kwargs):
        contents = {**files(**kwargs), **(changes or {})}
        host = fake_host({path: text for path, text in contents.items() if text is not None})
        host.links["/sys/class/net/eth0"] = f"../../{PCI.removeprefix('/sys/')}/net/eth0"
        host.links["/sys/class/net/lo"] = "../../devices/virtual/net/lo"
        if enabled:
            host.links[f"{ETC}/multi-user.target.wants/move.service"] = f"{ETC}/move.service"
        for path in deny:
            host.deny(path)
        observed = None
        if counts is not None:
            before, after = (Fact("value", irq.parse_interrupts(table(c)), "/proc/interrupts") for c in ({}, counts))
            observed = Observed(before, after, 1.0)
        facts = irq_affinity.facts(host, wanted)
        return {f.id.removeprefix("irq_affinity."): f for f in irq_affinity.check(wanted, facts, observed)}

    return run


def hops(finding):
    return {name: hop.state for name, hop in finding.hops.items()}


def test_a_tuned_host_passes(run):
    assert {key: f.status for key, f in run().items()} == {
        "default_smp_affinity": "pass",
        "irqbalance": "na",
        "queues.eth0": "pass",
        "irq.24": "pass",
        "irq.32": "pass",  # the card's interrupt for events carries no packets: an ordinary one
        "irq.33": "pass",
    }


class TestOneInterrupt:
    def test_delivered_elsewhere(self, run):
        found = run(affinity(24, "0-3", "2"))["irq.24"]
        assert (found.status, found.found, found.reboot) == ("fail", "2", False)
        assert found.fix == "echo 0-1 > /proc/irq/24/smp_affinity_list"
        assert "ttyS0" in found.why

    def test_allowed_elsewhere_but_delivered_well(self, run):
        assert run(affinity(24, "0-3", "0"))["irq.24"].status == "pass"

    def test_one_that_moves_at_its_next_delivery(self, run):
        """Seen in a guest: the effective affinity of a queue without traffic stays what it was."""
        leaves = affinity(24, "0-1", "2")
        found = run(leaves)["irq.24"]
        assert (found.status, found.found) == ("warn", "0-1 from its next delivery on, now 2")
        assert run(leaves, counts={24: (9, 0, 1, 0)})["irq.24"].status == "warn"
        assert run(leaves, counts={24: (9, 0, 2, 0)})["irq.24"].status == "fail"
        comes = affinity(24, "2", "0")
        assert run(comes)["irq.24"].status == "fail"

    def test_an_idle_queue_that_moves_is_where_it_was_sent(self, run):
        found = run(affinity(31, "1", "0"))["queues.eth0"]
        assert found.status == "pass"
        assert found.found["31"] == "1 from its next delivery on, now 0"
        assert run(affinity(31, "0", "1"))["queues.eth0"].status == "fail"

    def test_without_effective_affinity_what_is_allowed_counts(self, run):
        no_file = {"/proc/irq/24/effective_affinity_list": None}
        assert run(no_file)["irq.24"].status == "pass"
        assert run({**affinity(24, "0-3", ""), **no_file})["irq.24"].status == "fail"

    def test_unreadable(self, run):
        found = run(deny=["/proc/irq/24/effective_affinity_list"])["irq.24"]
        assert (found.status, bool(found.fix)) == ("unknown", True)

    def test_freed_meanwhile(self, run):
        gone = dict.fromkeys(affinity(24, "", ""))
        assert "irq.24" not in run(gone)

    def test_observed(self, run):
        assert run(counts={24: (9, 1, 0, 0)})["irq.24"].status == "pass"
        found = run(counts={24: (0, 0, 0, 5)})["irq.24"]
        assert (found.status, found.found, hops(found)["effective"]) == ("fail", {"cpu3": 5}, "bad")
        found = run(affinity(24, "0-3", "2"), counts={})["irq.24"]
        assert (found.status, found.found) == ("fail", "2")


class TestNames:
    """What an interrupt is called, and where it counts, when the row of /proc/interrupts does not tell by itself."""

    def test_a_chip_of_several_words_is_no_handler(self, run):
        row = table().replace(ROWS[33], "Hyper-V PCIe MSI 536870913-edge nvme0q1")
        found = run({"/proc/interrupts": row, "/sys/kernel/irq/33/actions": "nvme0q1\n", **ELSEWHERE})["irq.33"]
        assert found.status == "warn"
        assert "echo" not in found.fix

    def test_a_row_without_a_hardware_number_is_judged(self, run):
        for actions in ({"/sys/kernel/irq/34/actions": "eth1-TxRx-0\n"}, {}):
            row = table({34: (0, 0, 7, 0)}).replace(ROWS[34], "IR-PCI-MSI-edge eth1-TxRx-0")
            found = run({"/proc/interrupts": row, **actions})["irq.34"]
            assert (found.status, found.found) == ("fail", "3")

    def test_one_that_is_delivered_and_has_no_name_is_unknown(self, run):
        row = table({34: (0, 0, 7, 0)}).replace(ROWS[34], "Weird-chip foo")
        found = run({"/proc/interrupts": row})["irq.34"]
        assert (found.status, found.fix) == (
            "unknown",
            "cat /sys/kernel/irq/34/actions, on this host, or capture /sys/kernel/irq too",
        )
        assert "irq.34" not in run({"/proc/interrupts": table().replace(ROWS[34], "Weird-chip foo")})
        assert "irq.34" not in run({"/proc/interrupts": row, "/sys/kernel/irq/34/actions": "\n"})

    def test_the_kernels_timer_is_not_fought(self, run):
        row = table().replace(ROWS[24], "IO-APIC 2-edge timer")
        found = run({"/proc/interrupts": row, **affinity(24, "0-3", "2")})["irq.24"]
        assert (found.status, "echo" in found.fix) == ("warn", False)
        assert "nobody" in found.why


class TestOffline:
    """The kernel refuses an affinity of which no CPU is online, and takes one of which some are."""

    ONLINE = "/sys/devices/system/cpu/online"

    def test_an_interrupt_is_sent_to_cpus_that_run(self, run):
        found = run({**affinity(24, "0-3", "2"), self.ONLINE: "0,2-3\n"})["irq.24"]
        assert found.fix == "echo 0 > /proc/irq/24/smp_affinity_list"

    def test_none_of_them_runs(self, run):
        found = run({**affinity(24, "0-3", "2"), self.ONLINE: "2-3\n"}, default="f")
        assert found["irq.24"].fix == (
            "for i in 0 1; do echo 1 > /sys/devices/system/cpu/cpu$i/online; done\n"
            "echo 0-1 > /proc/irq/24/smp_affinity_list"
        )
        assert found["default_smp_affinity"].fix.startswith("for i in 0 1; do echo 1 > /sys/devices/system/cpu/cpu$i")

    def test_a_queues_cpu_is_offline(self, run):
        found = run({**affinity(31, "0", "0"), self.ONLINE: "0,2-3\n"})["queues.eth0"]
        assert found.fix == (
            "echo 1 > /sys/devices/system/cpu/cpu1/online\n"
            "for i in 30 31; do echo 1 > /proc/irq/$i/smp_affinity_list; done"
        )
        assert "CPU 1 is offline" in found.why

    def test_each_queue_has_its_own_cpu(self, run):
        settings = {"/etc/hosttune/profile.d/irq.yml": SETTINGS.replace('"1"', '"3,2"')}
        found = run(settings, wanted=Section(housekeeping="0-1", queues={"eth0": "3,2"}))["queues.eth0"]
        assert found.fix == (
            "for i in 31; do echo 2 > /proc/irq/$i/smp_affinity_list; done\n"
            "for i in 30; do echo 3 > /proc/irq/$i/smp_affinity_list; done"
        )


ELSEWHERE = affinity(33, "2", "2")


class TestManaged:
    def test_at_rest_it_is_a_warning_with_the_remedy(self, run):
        found = run(ELSEWHERE)["irq.33"]
        assert found.status == "warn"
        assert "by its driver's name" in found.why
        assert "isolcpus=managed_irq" in found.fix

    def test_silent_is_good_enough(self, run):
        assert run(ELSEWHERE, counts={})["irq.33"].status == "pass"

    def test_one_that_fires_is_reported_and_not_fought(self, run):
        found = run(ELSEWHERE, counts={33: (0, 0, 7, 0)})["irq.33"]
        assert (found.status, found.found) == ("warn", {"cpu2": 7})

    def test_the_kernel_knows_better_than_the_name(self, run):
        flags = "/sys/kernel/debug/irq/irqs/33"
        assert run({**ELSEWHERE, flags: "0x0"})["irq.33"].status == "fail"
        assert "driver's name" not in run({**ELSEWHERE, flags: "IRQD_AFFINITY_MANAGED"})["irq.33"].why


class TestDefaultMask:
    def test_wide_now(self, run):
        found = run(default="f")["default_smp_affinity"]
        assert (found.status, hops(found)["runtime"]) == ("fail", "bad")
        assert found.fix == "echo 3 > /proc/irq/default_smp_affinity"

    def test_waiting_for_the_boot(self, run):
        found = run(default="f", booted="quiet")["default_smp_affinity"]
        assert (found.status, found.reboot) == ("pending", True)

    def test_a_service_is_as_good_as_the_argument(self, run):
        found = run(coming="quiet", booted="quiet")["default_smp_affinity"]
        assert found.status == "pass"
        assert found.hops["persisted"].source == "move.service, /etc/hosttune/profile.d/irq.yml"

    def test_neither(self, run):
        found = run(coming="quiet", enabled=False)["default_smp_affinity"]
        assert (found.status, hops(found)["persisted"]) == ("volatile", "absent")

    def test_a_service_with_other_settings(self, run):
        other = {"/etc/hosttune/profile.d/irq.yml": SETTINGS.replace("0-1", "0-3")}
        assert run(other, coming="quiet")["default_smp_affinity"].status == "volatile"

    def test_narrower_is_fine(self, run):
        assert run(default="1", coming="irqaffinity=0", booted="irqaffinity=0")["default_smp_affinity"].status == "pass"

    def test_unreadable(self, run):
        assert run(deny=["/proc/irq/default_smp_affinity"])["default_smp_affinity"].status == "unknown"
        assert run(deny=["/boot/grub/grub.cfg", ETC])["default_smp_affinity"].status == "unknown"


class TestQueues:
    def test_delivered_elsewhere(self, run):
        found = run(affinity(31, "0", "0"))["queues.eth0"]
        assert (found.status, found.found) == ("fail", {"30": "1", "31": "0"})
        assert found.fix == "for i in 30 31; do echo 1 > /proc/irq/$i/smp_affinity_list; done"

    def test_isolated_cpus_may_be_meant(self, run):
        wanted = Section(housekeeping="0-1", queues={"eth0": "2-3"})
        settings = {"/etc/hosttune/profile.d/irq.yml": SETTINGS.replace('eth0: "1"', "eth0: 2-3")}
        found = run({**affinity(30, "2", "2"), **affinity(31, "3", "3"), **settings}, wanted=wanted)
        assert found["queues.eth0"].status == "pass"
        assert "irq.30" not in found

    def test_nobody_does_it_at_boot(self, run):
        found = run(enabled=False)["queues.eth0"]
        assert (found.status, hops(found)["persisted"]) == ("volatile", "absent")
        assert "service" in found.fix

    def test_the_service_has_no_word_on_this_interface(self, run):
        settings = {"/etc/hosttune/profile.d/irq.yml": SETTINGS.replace("eth0", "eth1")}
        assert run(settings)["queues.eth0"].status == "volatile"

    def test_the_service_cannot_be_understood(self, run):
        assert run({"/etc/hosttune/profile.d/irq.yml": None})["queues.eth0"].status == "unknown"

    def test_observed(self, run):
        assert run(counts={30: (0, 4, 0, 0)})["queues.eth0"].status == "pass"
        found = run(counts={30: (3, 4, 0, 0)})["queues.eth0"]
        assert (found.status, found.hops["effective"].value) == ("fail", {"cpu0": 3})

    def test_no_such_interface(self, run):
        found = run(wanted=Section(housekeeping="0-1", queues={"eth7": "1"}))["queues.eth7"]
        assert (found.status, found.found) == ("fail", "no such interface")

    def test_a_virtual_interface(self, run):
        found = run(wanted=Section(housekeeping="0-1", queues={"lo": "1"}))["queues.lo"]
        assert (found.status, "virtual" in found.found) == ("fail", True)

    def test_an_interface_that_is_down_has_no_interrupts(self, run):
        down = {"/proc/interrupts": "CPU0 CPU1 CPU2 CPU3\n24: 0 0 0 0 IO-APIC 5-edge ttyS0\n"}
        found = run(down)["queues.eth0"]
        assert found.status == "unknown"
        assert "down" in found.hops["runtime"].value

    def test_one_of_them_unreadable(self, run):
        assert run(deny=["/proc/irq/30/effective_affinity_list"])["queues.eth0"].status == "unknown"


def test_no_table_no_verdict(run):
    found = run(deny=["/proc/interrupts"])
    assert (found["irq"].status, found["queues.eth0"].status) == ("unknown", "unknown")


def test_lists_that_mean_nothing_here(run):
    found = run(wanted=Section(housekeeping="9-N"))
    assert {key: f.status for key, f in found.items()} == {"housekeeping": "unknown"}
    found = run(wanted=Section(housekeeping="0-1", queues={"eth0": "9-N"}))
    assert found["queues.eth0"].status == "unknown"


def test_an_empty_tree_gives_findings_and_no_pass(tmp_path):
    (tmp_path / "proc").mkdir()
    found = irq_affinity.check(WANTED, irq_affinity.facts(Tree(str(tmp_path)), WANTED), None)
    assert {f.status for f in found} == {"unknown"}
    assert all(f.fix for f in found)


def test_sample(fake_host):
    assert irq_affinity.sample(fake_host({"/proc/interrupts": table()})).value["24"].counts[3] == 0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "housekeeping"),
        ({"housekeeping": ""}, "names no CPU"),
        ({"housekeeping": "0-1", "irqbalance": "off"}, "irqbalance"),
        ({"housekeeping": "0-1", "queues": {"eth0": "x"}}, "queues.eth0"),
        ({"housekeeping": "0-1", "queues": {"../eth0": "1"}}, "not the name of a network interface"),
        ({"housekeeping": "0-1", "queue": {}}, "queue"),
    ],
)
def test_sections_that_are_refused(section, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(section, Section)
