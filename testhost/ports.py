"""Ports for ssh on the loopback."""

from __future__ import annotations

import random
import socket

from testhost.errors import TesthostError

# Below the range that the kernel gives to outgoing connections (ip_local_port_range begins at 32768), so that a
# host's port is still free when its guest reboots.
FIRST, LAST = 22000, 31999


def free_port() -> int:
    """A random port of the range on which nothing listens now. Raises TesthostError if none was found."""
    for _ in range(100):
        port = random.randint(FIRST, LAST)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise TesthostError(f"no free port between {FIRST} and {LAST} on 127.0.0.1")
