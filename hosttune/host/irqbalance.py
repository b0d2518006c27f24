"""irqbalance: whether it runs, whether the next boot starts it, and which CPUs it is told to leave alone.

Source: irqbalance(1), section "Environment variables".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from hosttune.host import commands, cpulist, dropins, irq_plan, process, systemd
from hosttune.host.forms import CPU_LIST, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, derive, make_unreadable

SERVICE = irq_plan.IRQBALANCE_SERVICE
_LIST, _MASK = "IRQBALANCE_BANNED_CPULIST", "IRQBALANCE_BANNED_CPUS"
_MAX_WORDS = 1 << 16  # characters of Environment=
_VALUE = f"{CPU_LIST}abcdefABCDEFx"


class Balancer(msgspec.Struct, frozen=True):
    """`banned` is what the running process was told, `banned_next` what the unit will tell it; both are
    absent if there is nothing to tell, and sets of CPUs otherwise."""

    running: Fact[bool]
    banned: Fact[frozenset[int]]
    unit: Fact[systemd.Unit]
    banned_next: Fact[frozenset[int]]


def read(root: Root, last: int | None) -> Balancer:
    """Read it; `last` is the number of the last CPU."""
    unit = systemd.read_unit(root, SERVICE)
    started = unit.value.values("Service", "ExecStart") if unit.value else []
    own = [path for command in started for path in commands.find_programs(command)[:1]]
    pids = process.find_service_pids(root, "irqbalance", SERVICE, {*irq_plan.IRQBALANCE, *own})
    banned: Fact[frozenset[int]] = Fact("absent")
    if pids.value:
        environment = root.read(f"/proc/{pids.value[0]}/environ")
        banned = _replace_unset(environment.map(lambda text: parse_banned(dict(_split_pairs(text.split("\0"))), last)))
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
    try:
        for value in unit.value.values("Service", "Environment"):
            environment.update(_split_pairs(_split_words(value)))
    except ValueError as error:
        return make_unreadable(source, f"not understood: {error}")
    for path in map(_strip_dash, unit.value.values("Service", "EnvironmentFile")):
        text = derive(root, path, partial(_read_file, path))
        if text.state == "unreadable":
            return make_unreadable(text.source, text.reason)
        pairs = dict(_split_pairs((text.value or "").splitlines()))
        source = text.source if pairs else source
        environment.update(pairs)
    return _replace_unset(Fact("value", environment, source).map(lambda env: parse_banned(env, last)))


def reduce_environment(text: str) -> str:
    """Returns the variables of /proc/PID/environ that are read, and no other."""
    return "\0".join([*_choose(_split_pairs(text.split("\0"))), ""])


def reduce_file(text: str) -> str:
    """Returns the variables of an EnvironmentFile= that are read, a line each, without quotes."""
    lines = (line.strip() for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    pairs = [(name.rstrip(), value.strip().strip("\"'")) for name, value in _split_pairs(lines)]
    return "\n".join([*_choose(pairs), ""])


def reduce_words(text: str) -> str:
    """Returns the variables of Environment= that are read."""
    try:
        words = _split_words(text)
    except ValueError:
        return ""
    return " ".join(f'"{word}"' for word in _choose(_split_pairs(words)))


def _read_file(path: str, root: Root) -> Fact[str]:
    return dropins.read_text(root, path).map(reduce_file)


def _choose(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Returns `NAME=VALUE` of the two variables; a value that is no list and no mask is as little one as it was."""
    return [
        f"{name}={value if consists_of(value, _VALUE, cpulist.MAX_LENGTH) else UNINTELLIGIBLE}"
        for name, value in pairs
        if name in (_LIST, _MASK)
    ]


def _strip_dash(path: str) -> str:
    return path.lstrip("-")


def _replace_unset(fact: Fact[frozenset[int] | None]) -> Fact[frozenset[int]]:
    if fact.state == "value" and fact.value is None:
        return Fact("absent", None, fact.source)
    return fact  # type: ignore[return-value]


def _split_words(text: str) -> list[str]:
    """Raises ValueError for text that is longer than what anybody writes: shlex is slow."""
    if len(text) > _MAX_WORDS:
        raise ValueError(f"{len(text)} characters")
    import shlex  # late: most hosts have no such line

    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _split_pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, equals, value in (word.partition("=") for word in words) if equals]
