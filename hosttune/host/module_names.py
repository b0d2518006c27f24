"""Names of kernel modules that a check asks for, and the sysctls that such a module makes. Pure.

Source: `register_net_sysctl` in the Linux kernel, of what Debian, Ubuntu and Red Hat build as modules.
"""

from __future__ import annotations

from hosttune.host.forms import NAME, consists_of

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


def find_owner(path: str) -> str | None:
    """Returns the module that makes a path below /proc/sys, None for one that is there from the start."""
    return next((module for start, module in OWNERS.items() if path.startswith(start)), None)


def normalise_name(text: str) -> str:
    """Returns the name with `_` for `-`: the kernel treats both alike."""
    return text.replace("-", "_")


def is_sought(name: str) -> bool:
    """Returns whether a check may look for a module of this name."""
    return normalise_name(name).startswith(_SOUGHT) and consists_of(name, NAME, 64)
