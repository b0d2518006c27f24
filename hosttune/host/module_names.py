"""Names of kernel modules that a check asks for, the sysctls that such a module makes, and what modprobe.d(5) says of
them. Pure.

Source: `register_net_sysctl` in the Linux kernel, of what Debian, Ubuntu and Red Hat build as modules.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Literal, NamedTuple

from hosttune.host.forms import NAME, consists_of
from hosttune.patterns import late_pattern

#: Beginning of a path below /proc/sys to the module that makes it.
OWNERS = {
    "net/netfilter/nf_conntrack_": "nf_conntrack",
    "net/netfilter/nf_flowtable_": "nf_conntrack",
    "net/nf_conntrack_max": "nf_conntrack",
    "net/bridge/": "br_netfilter",
    "net/ipv4/vs/": "ip_vs",
    "net/sctp/": "sctp",
    "net/mpls/": "mpls_router",
    "net/rds/": "rds",
    "net/smc/": "smc",
    "net/tipc/": "tipc",
    "net/vrf/": "vrf",
    "net/dccp/": "dccp",
    "net/rxrpc/": "rxrpc",
    "net/llc/": "llc2",
}

# Modules of congestion controls and queueing disciplines, which a profile asks for, and those that bring an owner in.
_SOUGHT = (
    *("tcp_", "sch_", "nf_", "nft_", "nfnetlink", "xt_", "ipt_", "ip6t_", "iptable_", "ip6table_", "ip_vs"),
    *OWNERS.values(),
)


_CONTINUED = late_pattern(r"\\\n")
#: Of every kernel with queueing disciplines (`net/sched/sch_generic.c`, `sch_fifo.c`, `sch_mq.c`): no module has them.
BUILT_IN_QDISCS = frozenset({"pfifo_fast", "pfifo", "bfifo", "mq"})


#: Arguments of the command line that keep modules from being loaded.
BLACKLISTS = ("module_blacklist", "modprobe.blacklist")


def find_owner(path: str) -> str | None:
    """Returns the module that makes a path below /proc/sys, None for one that is there from the start."""
    return next((module for start, module in OWNERS.items() if path.startswith(start)), None)


def normalise_name(text: str) -> str:
    """Returns the name with `_` for `-`: the kernel treats both alike."""
    return text.replace("-", "_")


def is_sought(name: str) -> bool:
    """Returns whether a check may look for a module of this name."""
    return normalise_name(name).startswith(_SOUGHT) and consists_of(name, NAME, 64)


class Block(NamedTuple):
    """What keeps a module from being loaded: `blacklist` is for modules-load.d and aliases, `never` for everybody."""

    kind: Literal["blacklist", "never"]
    place: str


def find_line_blocks(arguments: Iterable[tuple[str, str | None]], place: str) -> dict[str, Block]:
    """Returns what the arguments of a command line say: module_blacklist= is the kernel's, the other modprobe's."""
    found: dict[str, Block] = {}
    for key, names in arguments:
        kind: Literal["blacklist", "never"] = "never" if key == "module_blacklist" else "blacklist"
        if key in BLACKLISTS:
            found.update({normalise_name(name): Block(kind, place) for name in (names or "").split(",") if name})
    return found


class Line(NamedTuple):
    """A line of modprobe.d: `loads` is an install line whose command loads the module, `never` any other, and an alias
    for another module."""

    kind: Literal["blacklist", "never", "loads", "another"]
    name: str
    place: str


def parse_blocks(text: str, file: str) -> dict[str, Block]:
    """Returns what one file says."""
    return find_blocks(parse_lines(text, file))


def find_blocks(lines: Iterable[Line]) -> dict[str, Block]:
    """Returns what keeps modules from being loaded, by their names. Of the install lines of one the first counts
    (`module_get_install_commands` in `libkmod/libkmod-module.c`)."""
    found: dict[str, Block] = {}
    installed: set[str] = set()
    for line in lines:
        if line.kind == "blacklist":
            found.setdefault(line.name, Block("blacklist", line.place))
        elif line.kind == "another" or line.name not in installed:
            if line.kind != "another":
                installed.add(line.name)
            if line.kind != "loads":
                found[line.name] = Block("never", line.place)
    return found


def parse_lines(text: str, file: str) -> list[Line]:
    """Returns the lines of one file that say whether a module is loaded.

    `install NAME COMMAND` has the command run in place of loading the module; where it names modprobe or insmod, it may
    load it all the same. `alias NAME OTHER` has another one loaded.
    """
    found: list[Line] = []
    number = 1
    for raw in _CONTINUED.sub("\\\0", text).split("\n"):
        words = raw.replace("\\\0", "").split()
        if len(words) > 1 and words[0] in ("blacklist", "install", "alias"):
            name, place = normalise_name(words[1]), f"{file}:{number}"
            if words[0] == "blacklist":
                found.append(Line("blacklist", name, place))
            elif len(words) > 2 and words[0] == "install":
                loads = any(posixpath.basename(word) in ("modprobe", "insmod") for word in words[2:])
                found.append(Line("loads" if loads else "never", name, place))
            elif len(words) > 2 and normalise_name(words[2]) != name:
                found.append(Line("another", name, place))
        number += 1 + raw.count("\\\0")
    return found
