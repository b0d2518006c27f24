"""What is broken by hand on a tuned host, by the finding that has to say so; the layout is that of `inventory/demo`.

A round is what is broken at the same time: nothing of it may hide or mend another. `NOT_HERE` has the findings that
a guest cannot be made to give, or whose fix nobody can paste, with the reason.
"""

import shlex

LATER = "zzz-other"
#: Of two lines of tmpfiles.d for one path the first one counts.
EARLIER = "/etc/tmpfiles.d/00-another.conf"
BALANCE = "systemctl restart irqbalance"
UNIT = "/etc/systemd/system/trading_agent.service"
OURS = "/etc/default/grub.d/*hosttune-cpu_isolation.cfg"
MENU = "update-grub 2>/dev/null"


def _write(path: str, *lines: str) -> str:
    return f"printf '%s\\n' {' '.join(map(shlex.quote, lines))} >>{path}"


NIC_IRQ = "$(basename $(dirname $(ls -d /proc/irq/*/eth0-rxtx-0)))"
# The serial line's: the kernel lets it be moved.
CONSOLE_IRQ = 4

#: What somebody does to the running system.
VALUES = {
    "net_buffers.net.core.rmem_max": "sysctl -q -w net.core.rmem_max=212992",
    "net_buffers.net.ipv4.tcp_rmem": "sysctl -q -w net.ipv4.tcp_rmem='4096 131072 6291456'",
    "tcp_bbr.congestion_control": "sysctl -q -w net.ipv4.tcp_congestion_control=cubic",
    "tcp_bbr.allowed": "sysctl -q -w net.ipv4.tcp_allowed_congestion_control='reno cubic'",
    "tcp_bbr.qdisc": "sysctl -q -w net.core.default_qdisc=pfifo_fast",
    "tcp_bbr.qdisc.eth0": "tc qdisc replace dev eth0 root pfifo_fast",
    "hugepages.2M.node0": "echo 3 >/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
    "hugepages.2M.node1": "echo 10 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
    "hugepages.transparent": "echo always >/sys/kernel/mm/transparent_hugepage/enabled",
    "irq_affinity.default_smp_affinity": "echo f >/proc/irq/default_smp_affinity",
    "irq_affinity.irqbalance": f"{_write('/etc/hosttune/irqbalance.env', 'IRQBALANCE_BANNED_CPULIST=3')}; {BALANCE}",
    "irq_affinity.queues.eth0": f"echo 3 >/proc/irq/{NIC_IRQ}/smp_affinity_list",
    f"irq_affinity.irq.{CONSOLE_IRQ}": f"echo 2 >/proc/irq/{CONSOLE_IRQ}/smp_affinity_list",
    "rt_limits.sched_rt_runtime_us": "sysctl -q -w kernel.sched_rt_runtime_us=950000",
    "rt_limits.trader.nofile": "systemd-run --quiet --unit=low --uid=trader -p LimitNOFILE=1024 sleep 1000",
    "cpu_isolation.irqaffinity": "true",  # reads the file that default_smp_affinity breaks
    "cpu_isolation.systemd": "taskset -pc 0-3 1",
    "cpu_isolation.threads": "systemd-run --quiet --unit=stray -p CPUAffinity=1-2 sleep 1000",
}
#: Files of the roles are gone; the running system is as it was.
GONE = {
    "net_buffers.net.core.wmem_max": "rm /etc/sysctl.d/*hosttune-net_buffers.conf",
    "tcp_bbr.congestion_control": "rm /etc/sysctl.d/*hosttune-tcp_bbr.conf",
    "tcp_bbr.qdisc": "true",
    "tcp_bbr.module": "rm /etc/modules-load.d/*hosttune*.conf",
    "hugepages.2M.node1": "rm /etc/tmpfiles.d/*hosttune-hugepages.conf",
    "hugepages.transparent": "true",
    "rt_limits.trader.memlock": "rm /etc/security/limits.d/*hosttune-rt_limits.conf",
    "rt_limits.trader.rtprio": "rm /etc/systemd/system.conf.d/*hosttune-rt_limits.conf",
    "rt_limits.sched_rt_runtime_us": "rm /etc/sysctl.d/*hosttune-rt_limits.conf",
    "cpu_isolation.systemd": "rm /etc/systemd/system.conf.d/*hosttune-cpu_isolation.conf",
    "cpu_isolation.nohz_full": f"sed -i '/^GRUB_CMDLINE/s/ nohz_full=[^ ]*//' {OURS}; {MENU}",
}
#: Somebody else's file has the last word; what runs is as it was.
OVERRULED = {
    "net_buffers.net.core.rmem_max": _write(f"/etc/sysctl.d/{LATER}.conf", "net.core.rmem_max=212992"),
    "tcp_bbr.congestion_control": _write(f"/etc/sysctl.d/{LATER}.conf", "net.ipv4.tcp_congestion_control = cubic"),
    "hugepages.2M.node1": _write(
        EARLIER,
        "w /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages - - - - 1",
    ),
    "hugepages.transparent": _write(EARLIER, "w /sys/kernel/mm/transparent_hugepage/enabled - - - - always"),
    "rt_limits.trader.memlock": _write(f"/etc/security/limits.d/{LATER}.conf", "trader - memlock 64"),
    # Of the agent's own unit, whose limits the defaults of the manager do not reach.
    "rt_limits.trader.rtprio": f"mkdir -p {UNIT}.d; {_write(f'{UNIT}.d/{LATER}.conf', '[Service]', 'LimitRTPRIO=1')}"
    "; systemctl daemon-reload",
    "rt_limits.sched_rt_runtime_us": _write(f"/etc/sysctl.d/{LATER}.conf", "kernel.sched_rt_runtime_us = 950000"),
    "cpu_isolation.systemd": _write(f"/etc/systemd/system.conf.d/{LATER}.conf", "[Manager]", "CPUAffinity=0-3"),
    # The configuration has it still.
    "cpu_isolation.nohz_full": "sed -i 's/ nohz_full=[^ ]*//' /boot/grub/grub.cfg",
}
#: Somebody else's file, which is read last, sets the boot arguments anew.
OTHER_ARGUMENTS = {
    "cpu_isolation.isolated": _write(f"/etc/default/grub.d/{LATER}.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="isolcpus=3"')
    + f"; {MENU}",
    "cpu_isolation.managed_irq": "true",
    "cpu_isolation.nohz_full": "true",
    "cpu_isolation.rcu_nocbs": "true",
    "cpu_isolation.irqaffinity": "true",
}

ROUNDS = {"values": VALUES, "gone": GONE, "overruled": OVERRULED, "other arguments": OTHER_ARGUMENTS}

#: Findings by the pattern of their id, and why no round has them.
NOT_HERE = {
    "cpu_isolation.siblings": "the guest's cores have one hardware thread each",
    "cpu_isolation.ticks": "only --observe gives it, and a tick has many causes: its fix says where to look",
    "irq_affinity.housekeeping": "the profile names a CPU that no host has: its fix is to write another",
    "irq_affinity.irq": "/proc/interrupts cannot be made unreadable for root",
    "tcp_bbr.qdisc.interfaces": "netlink cannot be made to refuse root",
    "rt_limits.fair_server": "Debian 12's kernel has none",
}
