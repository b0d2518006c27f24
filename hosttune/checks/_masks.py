"""The fix for a service that is masked, or of which a file changes what it does."""

from __future__ import annotations

from typing import Any

from hosttune.host import masks, systemd
from hosttune.host.root import Fact
from hosttune.output import quote_word


def write_fix(service: str, place: str) -> str:
    """Returns what has the next boot start a service again; `place` is where hosttune.host.masks found it masked."""
    if place.startswith(systemd.UNITS[0]):
        return f"systemctl unmask {service}"
    return f"take systemd.mask={service.removesuffix('.service')} out of the kernel's command line ({place})"


def advise(fact: Fact[Any]) -> list[str]:
    """Returns what to do where a fact is unreadable because a service is not the distribution's own any more."""
    if not masks.is_changed(fact):
        return []
    return [f"# {quote_word(fact.source)} changes what a service of systemd applies at boot: take out what does so"]
