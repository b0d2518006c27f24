"""Keys of interfaces, and those of which `all` has another that the kernel goes by as well. Pure.

Sources in the Linux kernel: `include/linux/inetdevice.h` (IN_DEV_MAXCONF, IN_DEV_ORCONF, IN_DEV_ANDCONF,
IN_DEV_RX_REDIRECTS), `net/ipv4/devinet.c` (what `all` starts with), `net/ipv6/addrconf.c`, `net/ipv6/ndisc.c`,
`net/ipv6/exthdrs.c`; `Documentation/networking/ip-sysctl.rst`.
"""

from __future__ import annotations

from typing import Literal

Rule = Literal["larger", "smaller", "either", "both", "redirects"]

#: Rule, and what `all` is without a line that sets it, by `FAMILY/NAME` of net/FAMILY/conf/IFACE/NAME.
RULES: dict[str, tuple[Rule, int]] = {
    **dict.fromkeys(
        (f"ipv4/{name}" for name in ("rp_filter", "arp_announce", "arp_ignore", "arp_notify", "arp_accept")),
        ("larger", 0),
    ),
    **dict.fromkeys(
        (
            f"ipv4/{name}"
            for name in (
                *("accept_local", "log_martians", "proxy_arp", "promote_secondaries", "route_localnet", "arp_filter"),
                *("src_valid_mark", "drop_gratuitous_arp", "drop_unicast_in_l2_multicast"),
                *("disable_policy", "disable_xfrm"),
            )
        ),
        ("either", 0),
    ),
    **dict.fromkeys((f"ipv4/{name}" for name in ("shared_media", "send_redirects", "secure_redirects")), ("either", 1)),
    **dict.fromkeys((f"ipv4/{name}" for name in ("accept_source_route", "bootp_relay", "bc_forwarding")), ("both", 0)),
    "ipv4/arp_evict_nocarrier": ("both", 1),
    "ipv4/accept_redirects": ("redirects", 1),
    "ipv6/accept_source_route": ("smaller", 0),
    "ipv6/seg6_enabled": ("smaller", 0),
    "ipv6/accept_dad": ("larger", 0),
    "ipv6/proxy_ndp": ("either", 0),
}
#: Paths below /proc/sys that are still there and do nothing, and since when (tcp_low_latency: commit b6690b14386698).
NO_EFFECT = {"net/ipv4/tcp_low_latency": "the kernel ignores this key since 4.14"}
_WORDS: dict[Rule, str] = {
    "larger": "the kernel goes by the larger of the two",
    "smaller": "the kernel goes by the smaller of the two",
    "either": "the kernel does it where one of the two is not 0",
    "both": "the kernel does it where none of the two is 0",
    "redirects": "the kernel does it where one of the two is not 0, and if the interface forwards, none",
}


def names_interface(path: str) -> bool:
    """Returns whether a path below /proc/sys is that of one interface."""
    parts = path.split("/")
    return len(parts) == 5 and parts[2] in ("conf", "neigh") and parts[3] not in ("all", "default")


def find_pair(path: str) -> tuple[str, str] | None:
    """Returns the rule's name and the key of `all` for the path of an interface's key, None if that counts alone."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != "net" or parts[2] != "conf" or parts[3] in ("all", "default"):
        return None
    name = f"{parts[1]}/{parts[4]}"
    return (name, f"net.{parts[1]}.conf.all.{parts[4]}") if name in RULES else None


def find_forwarding(path: str) -> str | None:
    """Returns the path of the third key that decides about the key of an interface, None if there is no third."""
    return f"{path.rpartition('/')[0]}/forwarding" if path.endswith("/accept_redirects") else None


def combine(name: str, of_all: int, own: int, forwards: bool = False) -> int:
    """Returns the value that the kernel goes by: the number, or 0 and 1 where it asks only whether one is not 0."""
    rule, _ = RULES[name]
    if rule == "larger":
        return max(of_all, own)
    if rule == "smaller":
        return min(of_all, own)
    if rule == "both" or (rule == "redirects" and forwards):
        return int(of_all != 0 and own != 0)
    return int(of_all != 0 or own != 0)


def holds(name: str, wanted: int, combined: int) -> bool:
    """Returns whether a combined value is what is wanted."""
    return combined == (wanted if RULES[name][0] in ("larger", "smaller") else int(wanted != 0))


def describe(name: str) -> str:
    """Returns how the kernel combines the two, in words."""
    return _WORDS[RULES[name][0]]
