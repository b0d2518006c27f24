"""Interrupts: the table, who manages them, and the queues of a card."""

import time

import pytest

from hosttune.host import irq, irq_plan, irq_unit, units
from tests.cpu_time import is_within

TABLE = """\
           CPU0       CPU2
  0:         10          0   IO-APIC   2-edge      timer
 16:          0          0   IO-APIC  16-fasteoi   i801_smbus, ehci_hcd
 30:          1        200 IR-PCI-MSIX-0000:19:00.0   0-edge      eth0-TxRx-0
 31:          1          0 IR-PCI-MSIX-0000:19:00.0   1-edge
 32:          7          9 PCI-MSIX-0000:af:00.0 1-edge      nvme0q1
 40:          7          9     GICv3  27 Level     arch_timer
 41:          7          9     GICv3  33 Level     ttyAMA0
 42:          7          9  xen-percpu    -virq      timer0
NMI:          0          1   Non-maskable interrupts
LOC:        100        200   Local timer interrupts
ERR:          0
"""


def files(*numbers, affinity="0,2", effective="0"):
    return {
        f"/proc/irq/{number}/{name}": f"{value}\n"
        for number in numbers
        for name, value in (("smp_affinity_list", affinity), ("effective_affinity_list", effective))
    }


def test_table_has_columns_for_online_cpus_only():
    rows = irq.parse_interrupts(TABLE)
    assert rows["LOC"].counts == {0: 100, 2: 200}
    assert rows["ERR"].counts == {0: 0}
    assert rows["30"].description == "IR-PCI-MSIX-0000:19:00.0   0-edge      eth0-TxRx-0"


@pytest.mark.parametrize("text", ["", "rubbish\n", "CPU0 CPUx\n"])
def test_a_table_without_its_head_is_not_understood(text):
    with pytest.raises(ValueError, match="first line"):
        irq.parse_interrupts(text)


def test_read_leaves_out_unused_and_per_cpu_interrupts(fake_host):
    host = fake_host({"/proc/interrupts": TABLE, **files(0, 16, 30, 31, 32, 40, 41, 42, 99)})
    found = irq.read(host).value
    assert {each.number: (each.actions, each.managed) for each in found.irqs} == {
        0: ("timer", "no"),
        16: ("i801_smbus,ehci_hcd", "no"),
        30: ("eth0-TxRx-0", "no"),
        32: ("nvme0q1", "probably"),
        41: ("ttyAMA0", "no"),
    }
    assert found.unused == 4


@pytest.mark.parametrize(
    ("description", "actions"),
    [
        ("PCI-MSI 1048576-edge      eth0", "eth0"),
        ("Hyper-V PCIe MSI 536870913-edge nvme0q1", "nvme0q1"),
        ("Hyper-V PCIe MSI 536870913-edge      nvme0q1", "nvme0q1"),
        ("IR-PCI-MSI-edge eth0-TxRx-0", "eth0-TxRx-0"),
        ("IR-PCI-MSIX-0000:19:00.0   0-edge      eth0-event-2", "eth0-event-2"),
        ("GICv3  33 Level     10000000.serial", "10000000.serial"),
        ("ITS-PCI-MSIX-0000:01:00.0   1 Edge      mlx5_comp0@pci:0000:01:00.0", "mlx5_comp0@pci:0000:01:00.0"),
        ("GICv3  33 Level    -fasteoi  my serial port", "my serial port"),
        ("IO-APIC   16-fasteoi   i801_smbus, ehci_hcd:usb1", "i801_smbus,ehci_hcd:usb1"),
        ("xen-dyn    -event     eth0-q0-tx", "eth0-q0-tx"),
        ("xen-pirq    -ioapic-level  i8042", "i8042"),
        ("XT-PIC      2  cascade", "cascade"),
        ("dummy 5 wm8994-sdw", "wm8994-sdw"),
        ("None    dummy", "dummy"),
        ("PCI-MSI 1048576-edge", ""),
        ("GICv3  33 Level", ""),
        ("dummy      5", ""),
        ("Weird-chip foo", None),
        ("A chip without a number eth0", None),
        ("", None),
    ],
)
def test_handlers_by_what_stands_after_the_counts(description, actions):
    assert irq.parse_actions(description) == actions


def read_row(fake_host, line, **extra):
    table = f"CPU0 CPU2\n{line}\n"
    host = fake_host({"/proc/interrupts": table, **files(40), **{k: v for k, v in extra.items() if v is not None}})
    return [(each.number, each.actions, each.managed) for each in irq.read(host).value.irqs]


ACTIONS = "/sys/kernel/irq/40/actions"


def test_the_kernels_own_list_of_handlers_counts(fake_host):
    row = "40: 0 7 Hyper-V PCIe MSI 536870913-edge nvme0q1"
    assert read_row(fake_host, row, **{ACTIONS: "nvme0q1\n"}) == [(40, "nvme0q1", "probably")]
    assert read_row(fake_host, row) == [(40, "nvme0q1", "probably")]
    assert read_row(fake_host, "40: 5 0 foo", **{ACTIONS: "eth0-TxRx-0\n"}) == [(40, "eth0-TxRx-0", "no")]
    assert read_row(fake_host, row, **{ACTIONS: "\n"}) == []


@pytest.mark.parametrize(
    "line",
    [
        "40: 0 7 Weird-chip foo",
        "40: 7 PCI-MSI 1-edge eth0",  # a column less than the head has: a CPU went meanwhile
        "40: 0 0 7 PCI-MSI 1-edge eth0",  # and one more
        "40: 0 7",
        "40:",
    ],
)
def test_a_row_that_counts_and_cannot_be_named_is_not_left_out(fake_host, line):
    assert read_row(fake_host, line) == [(40, None, "no")]


@pytest.mark.parametrize("line", ["40: 0 0 Weird-chip foo", "40: 0 0", "40: 0 0 PCI-MSI 1-edge"])
def test_a_row_that_never_counted_is(fake_host, line):
    assert read_row(fake_host, line) == []


@pytest.mark.parametrize(
    "line",
    [
        "40: 7 9 GICv3 23 Level arm-pmu-x",
        "40: 7 9 GIC-0  27 Level     kvm guest vtimer",
        "40: 7 9 GICv3 1060 Level eppi",
        "40: 7 9 xen-percpu -virq timer0",
    ],
)
def test_interrupts_of_each_cpu(fake_host, line):
    assert read_row(fake_host, line) == []


def test_the_columns_may_be_many_and_with_gaps():
    head = "    " + " ".join(f"CPU{number:<8}" for number in range(0, 16000, 2))
    rows = irq.parse_interrupts(f"{head}\n 9: {' '.join('1' for _ in range(8000))} IO-APIC 9-fasteoi acpi\n")
    assert rows["9"].counts[15998] == 1
    assert (rows["9"].description, rows["9"].whole) == ("IO-APIC 9-fasteoi acpi", True)


def test_what_is_kept_of_the_table_reads_as_the_table():
    kept = irq.reduce_interrupts(TABLE + "50:\n51: x\n52: 1 2 3 4\n")
    assert kept == irq.reduce_interrupts(kept)
    rows = irq.parse_interrupts(kept)
    assert rows == {
        name: row for name, row in irq.parse_interrupts(TABLE + "50:\n51: x\n52: 1 2 3 4\n").items() if name in rows
    }
    assert set(rows) == {"0", "16", "30", "31", "32", "40", "41", "42", "50", "51", "52", "LOC"}


@pytest.mark.parametrize(("flags", "fixed"), [("IRQD_NO_BALANCING", True), ("IRQD_PER_CPU", True), ("x", False)])
def test_interrupts_that_nobody_moves(fake_host, flags, fixed):
    host = fake_host(
        {"/proc/interrupts": TABLE, **files(0, 30), "/sys/kernel/debug/irq/irqs/30": f"dstate: 0\n {flags}"}
    )
    assert {each.number: each.fixed for each in irq.read(host).value.irqs} == {0: True, 30: fixed}


@pytest.mark.parametrize(
    ("name", "managed"),
    [
        ("nvme0q1", True),
        ("nvme0q0", False),
        ("virtio0-req.3", True),
        ("virtio0-config", False),
        ("virtio2-input.0", False),
        ("virtio1-request", True),
        ("megasas0-msix3", True),
        ("eth0-rxtx-0", False),
    ],
)
def test_managed_by_name_where_the_kernel_does_not_tell(fake_host, name, managed):
    table = TABLE.replace("eth0-TxRx-0", name)
    host = fake_host({"/proc/interrupts": table, **files(30)})
    (found,) = irq.read(host).value.irqs
    assert found.managed == ("probably" if managed else "no")


@pytest.mark.parametrize(("flags", "managed"), [("dstate: IRQD_AFFINITY_MANAGED", "yes"), ("dstate: x", "no")])
def test_managed_as_the_kernel_tells(fake_host, flags, managed):
    host = fake_host({"/proc/interrupts": TABLE, **files(32), "/sys/kernel/debug/irq/irqs/32": flags})
    (found,) = irq.read(host).value.irqs
    assert found.managed == managed


def test_destination(fake_host):
    def destination(host):
        (found,) = irq.read(host).value.irqs
        return found.destination

    table = {"/proc/interrupts": TABLE}
    assert destination(fake_host({**table, **files(30)})).value == {0}
    assert destination(fake_host({**table, **files(30, effective="")})).value == {0, 2}
    no_effective = {path: text for path, text in files(30).items() if "effective" not in path}
    assert destination(fake_host({**table, **no_effective})).value == {0, 2}
    assert destination(fake_host({**table, **files(30, effective="0-")})).state == "unreadable"
    denied = fake_host({**table, **files(30)}).deny("/proc/irq/30/effective_affinity_list")
    assert destination(denied).state == "unreadable"


def test_unreadable_table(fake_host):
    assert irq.read(fake_host().deny("/proc/interrupts")).reason == "EACCES"
    assert irq.read_default_affinity(fake_host({"/proc/irq/default_smp_affinity": "f\n"})).value == {0, 1, 2, 3}
    assert irq.read_default_affinity(fake_host({"/proc/irq/default_smp_affinity": "g\n"})).state == "unreadable"


PCI = "/sys/devices/pci0000:00/0000:00:03.0"


def card(fake_host, path, **extra):
    host = fake_host({**extra})
    host.links["/sys/class/net/eth0"] = f"../../{path.removeprefix('/sys/')}/net/eth0"
    return host


def test_queues_of_a_pci_card_and_of_a_virtio_card(fake_host):
    host = card(fake_host, PCI, **{f"{PCI}/msi_irqs/30": "msix", f"{PCI}/msi_irqs/31": "msix"})
    assert irq.find_queues(host, "eth0").value == {30, 31}
    host = card(fake_host, f"{PCI}/virtio2", **{f"{PCI}/msi_irqs/37": "msix"})
    assert irq.find_queues(host, "eth0").value == {37}
    host = card(fake_host, PCI, **{f"{PCI}/irq": "11\n"})
    assert irq.find_queues(host, "eth0").value == {11}


def test_interfaces_without_interrupts(fake_host):
    assert irq.find_queues(card(fake_host, PCI), "eth9").state == "absent"
    assert irq.find_queues(card(fake_host, PCI), "eth0").state == "unreadable"
    fact = irq.find_queues(card(fake_host, "/sys/devices/virtual"), "eth0")
    assert (fact.state, "virtual" in fact.reason) == ("absent", True)
    assert irq.find_queues(fake_host().deny("/sys/class/net"), "eth0").state in ("absent", "unreadable")


@pytest.mark.parametrize(
    ("actions", "packets"),
    [
        ("eth0-TxRx-3", True),
        ("eth0-rxtx-0", True),
        ("virtio2-input.0", True),
        ("virtio2-output.0", True),
        ("mlx5_comp3@pci:0000:01:00.0", True),
        ("eth0-Tx-Rx-1", True),
        ("gve-ntfy-blk0@pci:0000:00:04.0", True),
        ("eth0", False),
        ("eth0-event-4", False),
        ("virtio2-config", False),
        ("mlx5_async0@pci:0000:01:00.0", False),
        ("ena-mgmnt@pci:0000:00:05.0", False),
    ],
)
def test_interrupts_that_carry_packets(actions, packets):
    assert irq_plan.carries_packets(actions, "eth0", alone=False) is packets
    assert irq_plan.carries_packets(actions, "eth0", alone=True)


# --- what sets affinities at boot ---

SCRIPT = "#!/bin/sh\necho $cpus > /proc/irq/$i/smp_affinity_list\n"
ETC = "/etc/systemd/system"


def applied(fake_host, unit, settings='irq_affinity: {housekeeping: "0-1"}', script=SCRIPT):
    host = fake_host({f"{ETC}/any.service": unit, "/usr/local/sbin/move": script, "/etc/any.yml": settings})
    host.links[f"{ETC}/multi-user.target.wants/any.service"] = f"{ETC}/any.service"
    return host


@pytest.mark.parametrize(
    "unit",
    [
        "[Service]\nExecStart=/usr/local/sbin/move apply /etc/any.yml\n",
        "[Service]\nExecStart=/bin/sh -c '/usr/local/sbin/move /etc/any.yml'\n",
        "[Service]\nExecStart=-/bin/bash -ec 'cd /; A=/x/y exec /usr/local/sbin/move'  --settings=/etc/any.yml\n",
        "[Service]\nExecStart=/usr/bin/python3 -I /usr/local/sbin/move '/etc/any.yml'\n",
        "[Service]\nExecStart=/usr/bin/env A=/x/y /usr/local/sbin/move /etc/any.yml\n",
        "[Service]\nExecStart=/opt/venv/bin/python /usr/local/sbin/move /etc/any.yml\n",
        '[Service]\nExecStart=+"/usr/local/sbin/move" /etc/any.yml\n',
    ],
)
def test_a_service_is_known_by_what_it_does(fake_host, unit):
    (found,) = irq_unit.find_appliers(applied(fake_host, unit)).value
    assert found.unit == "any.service"
    assert found.settings.value == {"housekeeping": "0-1"}
    (again,) = irq_unit.find_appliers(applied(fake_host, units.reduce(unit))).value
    assert again == found


def test_settings_named_in_the_script(fake_host):
    unit = "[Service]\nExecStart=/usr/local/sbin/move\n"
    host = applied(fake_host, unit, '{"housekeeping": "0"}', SCRIPT + "profile=/etc/any.yml\n")
    assert irq_unit.find_appliers(host).value[0].settings.value == {"housekeeping": "0"}


@pytest.mark.parametrize("settings", ["- 1\n", "a: [\n", "irq_affinity: 3\n"])
def test_settings_that_say_nothing_useful(fake_host, settings):
    host = applied(fake_host, "[Service]\nExecStart=/usr/local/sbin/move /etc/any.yml\n", settings)
    assert irq_unit.find_appliers(host).value[0].settings.state == "unreadable"


def test_services_that_do_not_count(fake_host):
    move = "[Service]\nExecStart=/usr/local/sbin/move\n"
    assert irq_unit.find_appliers(applied(fake_host, move)).value[0].settings.state == "unreadable"
    disabled = applied(fake_host, move)
    disabled.links.clear()
    assert irq_unit.find_appliers(disabled).value == []
    assert irq_unit.find_appliers(applied(fake_host, move, script="#!/bin/sh\ntrue\n")).value == []
    assert irq_unit.find_appliers(fake_host().deny(ETC)).state == "unreadable"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("irq_affinity: {housekeeping: 1" + ":1" * 130_000 + "}", {"housekeeping": "..."}),
        ('housekeeping: 0-1\na: !!bool "x"\nb: !!int ""\nc: !!timestamp "x"\n', {"housekeeping": "0-1"}),
        ("housekeeping: 3\nqueues: {eth0: 1, eth1: null, eth2: }\n", {"housekeeping": "3", "queues": {"eth0": "1"}}),
        ("housekeeping: 010\n", {"housekeeping": "..."}),
        ("housekeeping: 1:30\n", {"housekeeping": "..."}),
        ("housekeeping: true\n", {"housekeeping": "..."}),
        ("housekeeping: [1]\n", {"housekeeping": "..."}),
        ("housekeeping: ~\n", {}),
    ],
)
def test_settings_are_read_at_once_whatever_their_scalars_are(settings, kept):
    start = time.process_time()
    assert irq_unit.parse_settings(settings) == kept
    assert irq_unit.parse_settings(irq_unit.reduce_settings(settings)) == kept
    assert is_within(time.process_time() - start, 1)


def test_settings_with_a_merge_key_are_not_understood():
    with pytest.raises(ValueError, match="merge key"):
        irq_unit.parse_settings('irq_affinity: {<<: {housekeeping: "0"}}')
