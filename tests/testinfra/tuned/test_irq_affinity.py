"""Interrupts are delivered where the profile says, which is more than what a mask file claims."""

import time

import pytest

DELIVERED = """
import glob, json, os
counts = {}
for path in glob.glob('/sys/kernel/irq/*/per_cpu_count'):
    irq = path.split('/')[4]
    action = open(f'/sys/kernel/irq/{irq}/actions').read().strip()
    if action:
        counts[irq] = [action, [int(n) for n in open(path).read().split(',')]]
print(json.dumps(counts))
"""


@pytest.fixture(scope="module")
def delivered(python):
    """Interrupts delivered per irq and CPU while the network was in use."""
    before = python(DELIVERED)
    for _ in range(5):
        python("print(0)")  # each call is traffic on eth0
    time.sleep(1)
    after = python(DELIVERED)
    return {
        irq: (action, [b - a for a, b in zip(before[irq][1], counts, strict=True)])
        for irq, (action, counts) in after.items()
        if irq in before
    }


def test_no_device_interrupt_reaches_an_isolated_cpu(delivered):
    guilty = {irq: row for irq, row in delivered.items() if row[1][2] or row[1][3]}
    assert not guilty


def test_the_nic_interrupts_its_named_cpu(delivered):
    """The kernel moves an interrupt when it next comes (`kernel/irq/migration.c`): that one may come where it was."""
    nic = [counts for action, counts in delivered.values() if action.startswith("eth0")]
    assert nic, "eth0 has no interrupts: this test would prove nothing"
    assert sum(counts[1] for counts in nic) > 0
    assert all(counts[0] <= 1 for counts in nic)


def test_affinity_survives_an_interface_going_down_and_up(host, python):
    """request_irq() in the driver's open resets the mask; the role has to apply it again.

    A queue without traffic shows the new place as its effective one only after its next interrupt.
    """
    host.run("sh -c 'ip link set eth0 down; ip link set eth0 up; ip route get 10.0.2.2'")
    deadline = time.monotonic() + 60
    while True:
        masks = python(
            "import glob, json, os\n"
            "found = {}\n"
            "for irq in os.listdir('/sys/class/net/eth0/device/msi_irqs'):\n"
            "    if glob.glob(f'/proc/irq/{irq}/eth0-rxtx-*'):\n"
            "        found[irq] = open(f'/proc/irq/{irq}/smp_affinity_list').read().strip()\n"
            "print(json.dumps(found))\n"
        )
        if masks and set(masks.values()) == {"1"}:
            return
        assert time.monotonic() < deadline, masks
        time.sleep(2)


def test_irqbalance_is_told_to_keep_off(host):
    pid = host.run("pgrep -x irqbalance").stdout.strip()
    assert pid, "irqbalance is in the image and should be running, banned from the isolated CPUs"
    environment = host.check_output(f"tr '\\0' '\\n' </proc/{pid}/environ")
    assert "IRQBALANCE_BANNED_CPULIST=2-3" in environment.splitlines()


def test_the_program_finds_nothing_wrong(host):
    done = host.run("/usr/local/lib/hosttune/irq_affinity check")
    assert (done.rc, done.stderr) == (0, "")
    kinds = {line.partition(":")[0] for line in done.stdout.splitlines()}
    # What the kernel keeps it may keep.
    assert kinds <= {"kept"}, done.stdout


def test_the_program_leaves_nothing_beside_itself(host):
    """It runs as root, from a directory that a revert has to find as it left it."""
    found = host.check_output("cd /usr/local/lib/hosttune && find . -type f | sort").splitlines()
    assert found == [
        "./errors.py",
        "./host/cpulist.py",
        "./host/irq_plan.py",
        "./irq_affinity",
        "./irqbalance_policy",
        "./output.py",
    ]
