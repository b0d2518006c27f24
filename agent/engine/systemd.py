"""What the service manager is told. Source: sd_notify(3)."""

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send one datagram to $NOTIFY_SOCKET, if it is set; a manager that does not listen is no error."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, contextlib.suppress(OSError):
        sock.sendto(message.encode(), address)
