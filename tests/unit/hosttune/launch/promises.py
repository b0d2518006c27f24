"""A launch record for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.launch.record import Descriptor, Preflight, Record

NO_CAPABILITIES = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
#: As root: nothing less than all of them.
ALL_CAPABILITIES = dict.fromkeys(NO_CAPABILITIES, (1 << 63) - 1)


def make_record(**changes: Any) -> Record:
    """A launch of an agent as another user, with every promise that there is."""
    return msgspec.structs.replace(
        Record(
            pid=7, starttime=1, command=["agent"], policy="fifo", priority=80, nice=0, cpus="2-3", user="trader",
            uid=990, gid=990, groups=[5, 990], changes_user=True, capabilities=NO_CAPABILITIES, umask=0o027,
            memory_locked=True,
            cpu_dma_latency=Descriptor(3, 1, 2), timer_slack_ns=1, leases=[3], rlimits={"memlock": (-1, -1)}, forced=[],
            preflight=Preflight("ready", {"pass": 41}), ready=Descriptor(4, 1, 3),
        ),
        **changes,
    )  # fmt: skip
