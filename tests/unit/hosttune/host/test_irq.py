"""Interrupts: the table, who manages them, and the queues of a card."""

import time

import pytest

from hosttune.host import irq, irq_plan, irq_unit, units

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
        16: ("i801_smbus, ehci_hcd", "no"),
        30: ("eth0-TxRx-0", "no"),
        32: ("nvme0q1", "probably"),
        41: ("ttyAMA0", "no"),
    }
    assert found.unused == 4


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
    assert time.process_time() - start < 1


def test_settings_with_a_merge_key_are_not_understood():
    with pytest.raises(ValueError, match="merge key"):
        irq_unit.parse_settings('irq_affinity: {<<: {housekeeping: "0"}}')
