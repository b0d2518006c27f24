# SPDX-License-Identifier: Apache-2.0
"""CPU lists that users give to roles: one notation, one wording of what is wrong with them."""

from __future__ import annotations

import json
import re

from hosttune.host import cpulist

# What each reader of these lists knows: the kernel's command line, systemd and irqbalance. So no strides and no `N`.
_PLAIN = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")

#: Characters of a value that a message shows.
MOST = 200


def show(value: object) -> str:
    """Return a value as its user wrote it, near enough: as JSON, or as Python shows what JSON does not know."""
    text = json.dumps(value, default=repr, skipkeys=True)
    return text if len(text) <= MOST else f"{text[:MOST]}..."


def read(name: str, value: object, *, empty: bool = False) -> tuple[int, ...]:
    """Return the CPUs of the list in the variable `name`, in the order written.

    Raises ValueError that names the variable, what was found and what is allowed.
    """
    allowed = 'expected a quoted list of CPUs such as "2-3,6"' + (', or ""' if empty else "")
    if not isinstance(value, str) or not (_PLAIN.fullmatch(value) or (empty and value == "")):
        raise ValueError(f"{name} is {show(value)}: {allowed}")
    try:
        return cpulist.parse_sequence(cpulist.KernelList(value))
    except ValueError as error:
        raise ValueError(f"{name} is {show(value)}: {error}; {allowed}") from None


def read_all(
    variables: dict[str, object], *, may_be_empty: tuple[str, ...] = (), hint: str
) -> dict[str, tuple[int, ...]]:
    """Return the CPUs of each variable. Raises ValueError with one line for each list that is wrong, and the hint."""
    lists: dict[str, tuple[int, ...]] = {}
    problems: list[str] = []
    for name, value in variables.items():
        try:
            lists[name] = read(name, value, empty=name in may_be_empty)
        except ValueError as error:
            problems.append(f"{error}. {hint}")
    refuse(problems)
    return lists


def missing(name: str, value: object, cpus: tuple[int, ...], present: frozenset[int]) -> list[str]:
    """Return a line if the list names CPUs that the host does not have."""
    beyond = frozenset(cpus) - present
    if not beyond:
        return []
    return [
        f"{name} is {show(value)}: the host has no CPU {cpulist.show(beyond)}, it has only the CPUs "
        f"{cpulist.show(present)}"
    ]


def offline(name: str, value: object, cpus: tuple[int, ...], online: frozenset[int]) -> list[str]:
    """Return a line if the list names CPUs that do not run."""
    off = frozenset(cpus) - online
    if not off:
        return []
    return [f"{name} is {show(value)}: CPU {cpulist.show(off)} is offline: bring it online, or name others"]


def find_unusable(name: str, value: str, present: str | None, online: str | None) -> list[str]:
    """Return a line if a list names CPUs that the host does not have, else if it names CPUs that do not run. present,
    online: the host's own lists, None where they were not read, and nothing is refused for them."""
    cpus = read(name, value)
    there, running = (
        cpulist.parse(cpulist.KernelList(text)) if text else frozenset(cpus) for text in (present, online)
    )
    return missing(name, value, cpus, there) or offline(name, value, cpus, running)


def refuse(problems: list[str]) -> None:
    """Raise ValueError with the problems, one per line and without control characters, if there are any."""
    if problems:
        raise ValueError("\n".join(map(_make_line, problems)))


def _make_line(problem: str) -> str:
    line = re.sub("[^ -~]", lambda match: ascii(match[0])[1:-1], problem)
    return line if len(line) <= 5 * MOST else f"{line[: 2 * MOST]}... {line[-2 * MOST :]}"
