"""Hosts that a plan is made for, without one."""

from __future__ import annotations

from typing import Any

from tests.unit.roles.plans import host_facts


def make_host(cpus: str | None = "0-15", possible: str | None = None, **found: Any) -> Any:
    """Returns what was read of a host; cpus: None for an image, whose host is not there yet."""
    lists = {host_facts.POSSIBLE: possible or cpus} if possible or cpus else {}
    if cpus is not None:
        lists[host_facts.PRESENT] = cpus
    return host_facts.Host({**lists, **found})
