"""Queueing disciplines attached to network devices. Source: tc(8), `include/uapi/linux/pkt_sched.h`."""

from __future__ import annotations

import msgspec

from hosttune.host.root import Fact, Root

ROOT = 0xFFFFFFFF
#: Kinds that have one qdisc for each queue of a device.
MULTIPLE = frozenset({"mq", "mqprio", "taprio"})
INGRESS = 0xFFFFFFF1  # of ingress and clsact, which queue nothing


class Device(msgspec.Struct, frozen=True):
    """One network device: the kind of its root qdisc and the kinds right below it, in order.

    `physical` says whether a device driver stands behind it (no loopback, bridge, tunnel); None: unknown.
    """

    name: str
    root: str
    leaves: list[str]
    physical: bool | None


def read(root: Root) -> Fact[list[Device]]:
    """Returns the devices that have a qdisc, so those that are or were up, in the order of the kernel."""
    table = root.netlink("qdisc")
    if table.value is None:
        return table.drop_value()
    roots: dict[str, tuple[str, int]] = {}
    for row in table.value:
        if row["parent"] == ROOT:
            roots[row["interface"]] = row["kind"], row["handle"] >> 16
    leaves: dict[str, list[str]] = {}
    for row in table.value:
        _, handle = roots.get(row["interface"], ("", -1))
        if row["parent"] not in (ROOT, INGRESS) and row["parent"] >> 16 == handle:
            leaves.setdefault(row["interface"], []).append(row["kind"])
    devices = [
        Device(name, kind, leaves.get(name, []), _read_physical(root, name)) for name, (kind, _) in roots.items()
    ]
    return Fact("value", devices, table.source)


def _read_physical(root: Root, name: str) -> bool | None:
    link = root.link(f"/sys/class/net/{name}/device")
    return None if link.state == "unreadable" else link.state == "value"
