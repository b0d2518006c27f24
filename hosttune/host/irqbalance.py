"""irqbalance: whether it runs, whether the next boot starts it, and which CPUs it is told to leave alone.

Sources: irqbalance(1), section "Environment variables"; `setup_banned_cpus` in `cputree.c` of irqbalance 1.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import msgspec

from hosttune.host import commands, cpulist, dropins, environment, irq_plan, process, systemd, systemd_lines
from hosttune.host.forms import DIGITS, UNINTELLIGIBLE
from hosttune.host.root import Fact, Root, derive, make_unreadable

SERVICE = irq_plan.IRQBALANCE_SERVICE
_LIST, _MASK = irq_plan.BANNED_LIST, irq_plan.BANNED_MASK
# What irqbalance reads on at, of either.
_KEPT = {_LIST: f"{DIGITS}-, \t\n\v\f\r", _MASK: f"{DIGITS}abcdefABCDEF, \t\n\v\f\r"}


class Balancer(msgspec.Struct, frozen=True):
    """`banned` is what each process that runs was told, `banned_next` what the unit will tell it; either is
    absent if there is nothing to tell: irqbalance then leaves alone the CPUs that are isolated or in nohz_full.
    `lost` are the files that the unit names and the next boot does not find: links to files below /run."""

    running: Fact[bool]
    banned: list[Fact[cpulist.Banned]]
    unit: Fact[systemd.Unit]
    banned_next: Fact[cpulist.Banned]
    lost: frozenset[str] = frozenset()


def read(root: Root) -> Balancer:
    """Read it."""
    unit = systemd.read_unit(root, SERVICE)
    started = unit.value.values("Service", "ExecStart") if unit.value else []
    own = [path for command in started for path in commands.find_programs(command)[:1]]
    pids = process.find_service_pids(root, "irqbalance", SERVICE, {*irq_plan.IRQBALANCE, *own})
    told = [
        root.read(f"/proc/{pid}/environ").map(lambda text: irq_plan.read_banned(irq_plan.parse_environ(text)))
        for pid in pids.value or ()
    ]
    files = _read_files(root, unit)
    lost = frozenset(each.source for each in files if dropins.is_lost(each))
    next_told = _read_banned_next(root, unit, files)
    return Balancer(pids.map(bool), [_replace_unset(each) for each in told], unit, next_told, lost)


def _read_files(root: Root, unit: Fact[systemd.Unit]) -> list[Fact[str]]:
    """Returns the files of EnvironmentFile=, in order, as the next boot finds them."""
    found: list[Fact[str]] = []
    for value in unit.value.values("Service", "EnvironmentFile") if unit.value else ():
        path = value.removeprefix("-")
        if path[:1] != "/" or set(path) & set("*?[%\\"):
            found.append(make_unreadable(unit.source, "not understood: the path of an EnvironmentFile="))
        elif dropins.outlives_boot(path):
            found.append(derive(root, path, partial(_read_file, path)))
    return found


def _read_banned_next(root: Root, unit: Fact[systemd.Unit], files: Iterable[Fact[str]]) -> Fact[cpulist.Banned]:
    """Returns what the manager's DefaultEnvironment=, then Environment= and EnvironmentFile= of the unit say: the last
    of them wins, and UnsetEnvironment= takes a variable away again (systemd.exec(5), systemd-system.conf(5))."""
    if unit.value is None:
        return make_unreadable(unit.source, unit.reason)
    manager = systemd.read_manager(root)
    if manager.value is None:
        return make_unreadable(manager.source, manager.reason)
    variables: dict[str, str] = {}
    source = unit.value.source
    try:
        for value in systemd_lines.list_values(manager.value, "Manager", "DefaultEnvironment"):
            variables.update(environment.parse_words(value))
        for value in unit.value.values("Service", "Environment"):
            variables.update(environment.parse_words(value))
    except ValueError as error:
        return make_unreadable(source, f"not understood: {error}")
    for text in files:
        if text.state == "unreadable":
            return make_unreadable(text.source, text.reason)
        pairs = environment.parse_file(text.value or "")
        source = text.source if pairs else source
        variables.update(pairs)
    for value in unit.value.values("Service", "UnsetEnvironment"):
        for word in value.split():
            name, equals, unset = word.strip("\"'").partition("=")
            if not equals or variables.get(name) == unset:
                variables.pop(name, None)
    return _replace_unset(Fact("value", variables, source).map(irq_plan.read_banned))


def reduce_environment(text: str) -> str:
    """Returns the variables of /proc/PID/environ that are read, and no other."""
    return "".join(f"{name}={value}\0" for name, value in _choose(irq_plan.parse_environ(text)))


def reduce_file(text: str) -> str:
    """Returns the variables of an EnvironmentFile= that are read, a line each. Raises ValueError."""
    return "".join(f'{name}="{value}"\n' for name, value in _choose(dict(environment.parse_file(text))))


def reduce_words(text: str) -> str:
    """Returns the variables of Environment= that are read."""
    try:
        pairs = environment.parse_words(text)
    except ValueError:
        return ""
    return " ".join(f'"{name}={value}"' for name, value in _choose(dict(pairs)))


def reduce_unset(text: str) -> str:
    """Returns the words of UnsetEnvironment= that are about the variables that are read."""
    words = (word.strip("\"'") for word in text.split())
    return " ".join(word for word in words if word in _KEPT or (word.partition("=")[0] in _KEPT and reduce_words(word)))


def _read_file(path: str, root: Root) -> Fact[str]:
    return dropins.read_lasting(root, path).map(reduce_file)


def _choose(variables: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Yield the two variables, their values as far as irqbalance reads them."""
    for name, characters in _KEPT.items():
        value = variables.get(name)
        if value is not None:
            rest = value.lstrip(characters)
            yield name, value if not rest else value[: len(value) - len(rest)] + UNINTELLIGIBLE


def _replace_unset(fact: Fact[cpulist.Banned | None]) -> Fact[cpulist.Banned]:
    if fact.state == "value" and fact.value is None:
        return Fact("absent", None, fact.source)
    return fact  # type: ignore[return-value]
