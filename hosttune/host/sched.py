"""The scheduler: its policies by number and name, and the budget of real-time tasks.

Sources: sched(7), `include/uapi/linux/sched.h` and `Documentation/scheduler/sched-rt-group.rst` of the Linux
kernel.
"""

from __future__ import annotations

from hosttune.host.root import Fact, Root, make_unreadable

#: Scheduling policies by number (SCHED_OTHER and so on; 4 is not assigned).
POLICY_NAMES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
POLICY_NUMBERS = {name: number for number, name in POLICY_NAMES.items()}

#: Policies that the fair class runs; sched_ext falls back to it.
FAIR_POLICIES = frozenset({"other", "batch", "idle", "ext"})

#: The highest real-time priority that is safe to take: the kernel's watchdog and migration threads run at 99,
#: and what spins beside them can hang the machine.
HIGHEST_PRIORITY = 98

#: In the flags of proc_pid_stat(5): a kernel thread (`include/linux/sched.h`).
PF_KTHREAD = 0x00200000

#: Microseconds of each period in which real-time tasks may run, -1 for all.
RT_RUNTIME = "/proc/sys/kernel/sched_rt_runtime_us"


def read_rt_group(root: Root) -> Fact[int]:
    """Read `cpu.rt_runtime_us` of this process's cgroup; absent without a cpu controller of cgroup v1."""
    groups, mounts = root.read("/proc/self/cgroup"), root.read("/proc/self/mountinfo")
    if groups.value is None or mounts.value is None:
        return make_unreadable("/proc/self/cgroup", groups.reason or mounts.reason)
    for line in groups.value.splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            for mount in mounts.value.splitlines():
                left, _, right = mount.partition(" - ")
                kind, _, options = right.split(" ", 2)
                if kind == "cgroup" and "cpu" in options.split(","):
                    where = f"{left.split()[4]}{path.rstrip('/')}/cpu.rt_runtime_us"
                    return root.read(where).map(int)
    return Fact("absent", None, "/proc/self/cgroup", "no cpu controller of cgroup v1")
