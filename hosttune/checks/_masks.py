"""The fix for a service that is masked."""

from __future__ import annotations

from hosttune.host import systemd


def write_fix(service: str, place: str) -> str:
    """Returns what has the next boot start a service again; `place` is where hosttune.host.masks found it masked."""
    if place.startswith(systemd.UNITS[0]):
        return f"systemctl unmask {service}"
    return f"take systemd.mask={service.removesuffix('.service')} out of the kernel's command line ({place})"
