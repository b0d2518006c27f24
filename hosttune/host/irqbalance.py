"""irqbalance: whether it runs, whether the next boot starts it, and which CPUs it is told to leave alone.

Source: irqbalance(1), section "Environment variables".
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import msgspec

from hosttune.host import cpulist, dropins, process, systemd
from hosttune.host.root import Fact, Root, make_unreadable

SERVICE = "irqbalance.service"
_LIST, _MASK = "IRQBALANCE_BANNED_CPULIST", "IRQBALANCE_BANNED_CPUS"


class Balancer(msgspec.Struct, frozen=True):
    """`banned` is what the running process was told, `banned_next` what the unit will tell it; both are
    absent if there is nothing to tell, and sets of CPUs otherwise."""

    running: Fact[bool]
    banned: Fact[frozenset[int]]
    unit: Fact[systemd.Unit]
    banned_next: Fact[frozenset[int]]


def read(root: Root, last: int | None) -> Balancer:
    """Read it; `last` is the number of the last CPU."""
    pids = process.find_pids(root, "irqbalance")
    banned: Fact[frozenset[int]] = Fact("absent")
    if pids.value:
        environment = root.read(f"/proc/{pids.value[0]}/environ")
        banned = _replace_unset(environment.map(lambda text: parse_banned(dict(_split_pairs(text.split("\0"))), last)))
    unit = systemd.read_unit(root, SERVICE)
    return Balancer(pids.map(bool), banned, unit, _read_banned_next(root, unit, last))


def parse_banned(environment: dict[str, str], last: int | None) -> frozenset[int] | None:
    """Returns the CPUs that an environment bans, None if it has no word on it. Raises ValueError."""
    if _LIST in environment:
        return cpulist.parse(environment[_LIST], last)
    return cpulist.parse_mask(environment[_MASK]) if _MASK in environment else None


def _read_banned_next(root: Root, unit: Fact[systemd.Unit], last: int | None) -> Fact[frozenset[int]]:
    """Returns what Environment= and then EnvironmentFile= of the unit say: the later of them wins."""
    if unit.value is None:
        return make_unreadable(unit.source, unit.reason)
    environment: dict[str, str] = {}
    source = unit.value.source
    for value in unit.value.values("Service", "Environment"):
        environment.update(_split_pairs(_split_words(value)))
    for path in unit.value.values("Service", "EnvironmentFile"):
        text = dropins.read_text(root, path.lstrip("-"))
        if text.state == "unreadable":
            return make_unreadable(text.source, text.reason)
        lines = [line for line in (text.value or "").splitlines() if not line.lstrip().startswith(("#", ";"))]
        pairs = dict(_split_pairs(line.strip() for line in lines))
        source = text.source if _LIST in pairs or _MASK in pairs else source
        environment.update({key: value.strip("\"'") for key, value in pairs.items()})
    return _replace_unset(Fact("value", environment, source).map(lambda env: parse_banned(env, last)))


def _replace_unset(fact: Fact[frozenset[int] | None]) -> Fact[frozenset[int]]:
    if fact.state == "value" and fact.value is None:
        return Fact("absent", None, fact.source)
    return fact  # type: ignore[return-value]


def _split_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _split_pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, equals, value in (word.partition("=") for word in words) if equals]
