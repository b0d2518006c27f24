"""Keys of interfaces, and those of which `all` has another that the kernel goes by as well. Pure.

Sources in the Linux kernel: `include/linux/inetdevice.h` (IN_DEV_MAXCONF, IN_DEV_ORCONF, IN_DEV_ANDCONF,
IN_DEV_RX_REDIRECTS), `net/ipv4/devinet.c` (what `all` starts with), `net/ipv6/addrconf.c`, `net/ipv6/ndisc.c`,
`net/ipv6/exthdrs.c`; `Documentation/networking/ip-sysctl.rst`. Of keys that set others: inet_forward_change,
addrconf_fixup_forwarding, addrconf_disable_ipv6, addrconf_fixup_linkdown and addrconf_sysctl_addr_gen_mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from hosttune.host.sysctl_lines import Assignment
from hosttune.host.sysctl_values import read_numbers

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


_SPREADS_IN_IPV6 = ("forwarding", "disable_ipv6", "ignore_routes_with_linkdown", "addr_gen_mode")


class Effect(NamedTuple):
    """What a write to the key at the path `cause` sets another key to: the value written, or, `inverted`, 1 for 0 and
    else 0; each time, or only `at_change` of the cause, which the kernel starts with 0."""

    cause: str
    inverted: bool
    at_change: bool


def find_effect(path: str) -> Effect | None:
    """Returns the effect that another key has on that of a path, None if there is no such key."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != "net" or parts[2] != "conf":
        return None
    _, family, _, device, name = parts
    forwards = family == "ipv4" and name == "forwarding" and device != "all"
    if forwards or path == "net/ipv4/conf/all/accept_redirects":
        return Effect("net/ipv4/ip_forward", not forwards, at_change=True)
    if family == "ipv6" and name in _SPREADS_IN_IPV6 and device != "all":
        return Effect(f"net/ipv6/conf/all/{name}", inverted=False, at_change=False)
    return None


def find_later_effect(
    effect: Effect, own: Assignment | None, causes: Iterable[Assignment], order: list[Assignment]
) -> Assignment | None:
    """Returns the line that has an effect on a key after the key's own line, with the value that this comes to.

    `causes` are the lines for the key that has the effect, the last one first; `order` are all, as they are written.
    """
    found, cause, before = None, None, 0
    for line in reversed(list(causes)):
        numbers = read_numbers(line.value or "", 1)
        if numbers is None:
            continue
        if not effect.at_change or numbers[0] != before:
            found = line._replace(value=str(int(numbers[0] == 0) if effect.inverted else numbers[0]))
            cause = line
        before = numbers[0]
    if cause is None or own is None:
        return found
    # Of one line with a wildcard, the paths are written in the order of their names.
    later = order.index(cause) - order.index(own) or (1 if effect.inverted else -1)
    return found if later > 0 else None


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
