"""Why the feed's sockets cannot be opened on this host, found without opening them; and what its ring waits for."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from agent.config import Feed, Line


def list_problems(feed: Feed) -> Iterator[str]:
    """Yields a message, which begins with the key, for each interface and address that this host does not have."""
    lines: list[tuple[str, Feed | Line | None]] = [("feed.request", feed.request)]
    if not feed.ring:
        lines = [("feed", feed), ("feed.b", feed.b), *lines]
    for key, line in lines:
        if line is None:
            continue
        if line.interface and not _has_interface(line.interface):
            names = ", ".join(name for _, name in socket.if_nameindex())
            yield f"{key}.interface: found {line.interface!r}, allowed: an interface of this host: {names}"
        if line is not feed.request and not _can_bind(line.address):
            yield f"{key}.address: found {line.address!r}, allowed: an address of this host, or a multicast group"


def _has_interface(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _can_bind(address: str) -> bool:
    """Returns whether the kernel lets a socket be bound to the address; a port of its own choice is taken for that."""
    if ipaddress.IPv4Address(address).is_multicast:
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def explain_ring(path: Path) -> str:
    """Returns what is added to the error of a ring: who makes one that is missing; "" for one that is there."""
    return "" if os.path.lexists(path) else "; the process that writes to it makes it, and starts first"
