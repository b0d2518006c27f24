"""net_buffers: socket buffers, TCP memory, backlog and busy polling, all of them net.* sysctls.

Sources: `Documentation/admin-guide/sysctl/net.rst`, `Documentation/networking/ip-sysctl.rst` of the Linux
kernel. Most net.* keys belong to a network namespace: they are read in the one of this process.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from hosttune.checks import _sysctl
from hosttune.findings import Finding
from hosttune.host import globs, module_names, modules, netconf, sysctl, sysctl_lines, sysctl_values
from hosttune.host.forms import keep_words
from hosttune.host.root import Observed, Root
from hosttune.output import quote_word
from hosttune.patterns import late_pattern
from hosttune.refusals import KeyRefused

_KEY = late_pattern(r"net[./][A-Za-z0-9_./:@-]+")

_WHY = {
    "net.core.rmem_max": "SO_RCVBUF is clamped to this, so a burst of market data is dropped",
    "net.core.wmem_max": "SO_SNDBUF is clamped to this, so a burst of orders waits",
    "net.core.rmem_default": "a feed handler that sets no SO_RCVBUF drops packets in a burst",
    "net.core.wmem_default": "a socket that sets no SO_SNDBUF blocks in a burst",
    "net.core.optmem_max": "the kernel refuses the ancillary data that receive timestamps need",
    "net.core.netdev_max_backlog": "packets above this are dropped before the stack has seen them",
    "net.core.netdev_budget": "the softirq stops early and leaves packets to ksoftirqd",
    "net.core.netdev_budget_usecs": "the softirq stops early and leaves packets to ksoftirqd",
    "net.core.busy_poll": "poll and epoll sleep until an interrupt instead of looking at the queue",
    "net.core.busy_read": "a blocking read sleeps until an interrupt instead of looking at the queue",
    "net.ipv4.tcp_rmem": "TCP cannot grow its window to what the path carries, or drops in a burst",
    "net.ipv4.tcp_wmem": "TCP cannot keep enough in flight, and send() blocks",
    "net.ipv4.tcp_slow_start_after_idle": "an order session that was quiet starts again with a small window",
    "net.ipv4.tcp_autocorking": "small segments are held back to be merged with the next",
    "net.ipv4.udp_rmem_min": "under memory pressure UDP sockets drop market data first",
    "net.ipv4.udp_wmem_min": "under memory pressure a UDP socket that sends is refused memory first",
}
_OTHERWISE = "sockets and queues work with another value than the profile was made for"


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`sysctl`: net.* key, spelled as in sysctl.d(5), to a number, a word or a list of numbers."""

    sysctl: dict[str, int | str | list[int]]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for key, value in self.sysctl.items():
            path = sysctl_lines.normalise_key(key)
            if not _KEY.fullmatch(key) or not path.startswith("net/") or ".." in path.split("/"):
                raise _refuse(key, f"sysctl key {key!r}: allowed are net.* keys without wildcards")
            if path in seen:
                raise _refuse(key, f"sysctl keys {seen[path]!r} and {key!r} are the same")
            if value in ("", []):
                raise _refuse(key, f"sysctl key {key!r} has an empty value")
            seen[path] = key


def _refuse(key: str, words: str) -> ValueError:
    return KeyRefused(("sysctl", key), words)


class Facts(msgspec.Struct):
    """Running and configured values."""

    sysctl: sysctl.Sysctls
    modules: modules.Modules | None = None


def facts(root: Root, wanted: Section) -> Facts:
    """Read the wanted keys and all sysctl.d files, and modules where such make a key."""
    made = any(module_names.find_owner(sysctl_lines.normalise_key(key)) for key in wanted.sysctl)
    return Facts(sysctl.read(root, _sysctl.list_needed(wanted.sysctl)), modules.read(root) if made else None)


def kept(wanted: Section) -> dict[str, Callable[[str], str]]:
    """Returns the files of the keys that shall hold words: of others, numbers are kept."""
    words = {key for key, value in wanted.sysctl.items() if not sysctl_values.is_numeric(_sysctl.show_value(value))}
    return {sysctl.build_path(key): keep_words for key in words}


def sweep(root: Root) -> None:
    """Read what another profile could ask for, so that a snapshot holds it."""
    modules.read(root)
    globs.read(root, "/proc/sys/net/*", "/proc/sys/net/*/*", "/proc/sys/net/*/*/*", "/proc/sys/net/*/*/*/*")


def check(wanted: Section, facts: Facts, observed: Observed[None] | None) -> list[Finding]:
    """Returns one finding for each key."""
    return [_check_key(key, value, facts) for key, value in wanted.sysctl.items()]


def _check_key(key: str, value: _sysctl.Value, facts: Facts) -> Finding:
    name = sysctl_lines.normalise_key(key)
    dotted = name.replace("/", ".")
    result = _sysctl.check_key(
        f"net_buffers.{dotted}",
        key,
        value,
        facts.sysctl,
        why=_WHY.get(dotted, _OTHERWISE),
        modules=facts.modules,
    )
    if name in netconf.NO_EFFECT and result.status == "pass":
        return msgspec.structs.replace(
            result, status="warn", why=netconf.NO_EFFECT[name], fix=f"take {quote_word(key)} out of the profile"
        )
    return result
