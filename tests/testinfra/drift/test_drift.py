"""Break one thing by hand, as people do at night, and ask the check: it has to name the very hop."""

import json

import pytest

NIC_IRQ = "$(basename $(dirname $(ls -d /proc/irq/*/eth0-rxtx-0)))"

SHADOW = "/etc/sysctl.d/99-zzz-local.conf"

# (what a hand does on the host, finding, status, hop that broke)
DRIFTS = {
    "sysctl-runtime": ("sysctl -q -w net.core.rmem_max=212992", "net_buffers.net.core.rmem_max", "fail", "runtime"),
    "sysctl-shadowed": (
        f"echo net.core.wmem_max=212992 >{SHADOW}",
        "net_buffers.net.core.wmem_max",
        "volatile",
        "persisted",
    ),
    "congestion-control": (
        "sysctl -q -w net.ipv4.tcp_congestion_control=cubic",
        "tcp_bbr.congestion_control",
        "fail",
        "runtime",
    ),
    "hugepages": (
        "echo 10 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
        "hugepages.2M.node1",
        "fail",
        "runtime",
    ),
    "transparent": (
        "echo always >/sys/kernel/mm/transparent_hugepage/enabled",
        "hugepages.transparent",
        "fail",
        "runtime",
    ),
    "queue-interrupt": (
        f"echo 3 >/proc/irq/{NIC_IRQ}/smp_affinity_list",
        "irq_affinity.queues.eth0",
        "fail",
        "runtime",
    ),
    "default-affinity": (
        "echo f >/proc/irq/default_smp_affinity",
        "irq_affinity.default_smp_affinity",
        "fail",
        "runtime",
    ),
    "boot-arguments": (
        "sed -i 's/ nohz_full=[^ ]*//' /boot/grub/grub.cfg",
        "cpu_isolation.nohz_full",
        "volatile",
        "persisted",
    ),
    # The agent still runs with what it was started with.
    "limits-file": (
        "rm /etc/security/limits.d/99-hosttune-rt_limits.conf",
        "rt_limits.trader.memlock",
        "volatile",
        "persisted",
    ),
    "rt-throttling": (
        "sysctl -q -w kernel.sched_rt_runtime_us=950000",
        "rt_limits.sched_rt_runtime_us",
        "fail",
        "runtime",
    ),
}


@pytest.fixture(scope="module")
def broken(host):
    """Findings by id, before anything is broken and after all of it is."""

    def findings():
        return {f["id"]: f for f in json.loads(host.run("hosttune check --format json").stdout)["findings"]}

    before = findings()
    for command, *_ in DRIFTS.values():
        done = host.run(command)
        assert done.rc == 0, (command, done.stderr)
    after = findings()
    # Other people's files are theirs to remove: the roles would report this one for ever.
    assert host.run(f"rm {SHADOW}").rc == 0
    return before, after


@pytest.mark.parametrize("name", DRIFTS)
def test_the_check_names_the_hop(broken, name):
    _, key, status, hop = DRIFTS[name]
    before, after = broken
    assert before[key]["status"] == "pass"
    assert after[key]["status"] == status
    assert after[key]["hops"][hop]["state"] in ("bad", "absent")
    assert after[key]["why"] and after[key]["fix"]


def test_what_was_not_broken_still_passes(broken):
    before, after = broken
    touched = {key for _, key, _, _ in DRIFTS.values()}
    # `cpu_isolation.irqaffinity` reads the file that "default-affinity" breaks.
    consequences = ("cpu_isolation.irqaffinity", "irq_affinity.irq.", "irq_affinity.irqbalance", "rt_limits.trader.")
    others = {
        key
        for key in before
        if before[key]["status"] == "pass" and key not in touched and not key.startswith(consequences)
    }
    assert others
    assert {key for key in others if after[key]["status"] != "pass"} == set()
