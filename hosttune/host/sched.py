"""The scheduler's own numbers, by the names that hosttune uses. Source: sched(7), `include/uapi/linux/sched.h`."""

from __future__ import annotations

#: Scheduling policies by number (SCHED_OTHER and so on; 4 is not assigned).
POLICY_NAMES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
POLICY_NUMBERS = {name: number for number, name in POLICY_NAMES.items()}

#: Policies that the fair class runs; sched_ext falls back to it.
FAIR_POLICIES = frozenset({0, 3, 5, 7})

#: In the flags of proc_pid_stat(5): a kernel thread (`include/linux/sched.h`).
PF_KTHREAD = 0x00200000
