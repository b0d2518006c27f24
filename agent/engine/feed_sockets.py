"""The feed of `agent run`: UDP sockets of its lines and of the request server, or a ring of shared memory.

Sources: socket(7) (SO_RCVBUFFORCE, SO_BUSY_POLL, SO_BINDTODEVICE); ip(7) (IP_ADD_MEMBERSHIP, IP_MULTICAST_ALL);
RFC 3678, section 5.1 (MCAST_JOIN_SOURCE_GROUP); Documentation/networking/timestamping.rst.
"""

import contextlib
import ipaddress
import socket
import struct
from pathlib import Path
from typing import Any

from agent.config import Feed, Line
from agent.engine import feed_problems
from agent.engine.errors import RunError

_SO_RCVBUFFORCE = 33
_SO_BUSY_POLL = 46
_SO_TIMESTAMPING = 37
_MCAST_JOIN_SOURCE_GROUP = 46
_IP_MULTICAST_ALL = 49
#: struct group_source_req: an interface's index, a group and a source, each a struct sockaddr_storage.
_GROUP_SOURCE = struct.Struct("=I4x128s128s")
_STAMP_SOFTWARE = 1 << 3 | 1 << 4  # SOF_TIMESTAMPING_RX_SOFTWARE, _SOFTWARE
_STAMP_HARDWARE = 1 << 2 | 1 << 6 | _STAMP_SOFTWARE  # _RX_HARDWARE, _RAW_HARDWARE: the card's, else the kernel's


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _set_receive_buffer(sock: socket.socket, size: int) -> None:
    """Ask for a receive buffer of size bytes, which needs CAP_NET_ADMIN; without it for as much of that as
    net.core.rmem_max allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _join_group(sock: socket.socket, line: Feed | Line) -> None:
    """Join the group, of all senders or of the sources alone: those of others do not get past the kernel then."""
    index = socket.if_nametoindex(line.interface) if line.interface else 0
    group = socket.inet_aton(line.address)
    if not line.sources:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", group, b"\0" * 4, index))
    for source in line.sources:
        places = (struct.pack("=HH4s", socket.AF_INET, 0, a) for a in (group, socket.inet_aton(source)))
        sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_SOURCE_GROUP, _GROUP_SOURCE.pack(index, *places))


def _bind_line(sock: socket.socket, line: Feed | Line) -> None:
    # Else a socket is also given what other sockets of this host have joined.
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    if ipaddress.IPv4Address(line.address).is_multicast:
        # Several engines of one host read the same group.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _join_group(sock, line)
    elif line.interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, line.interface.encode())
    sock.bind((line.address, line.port))


def open_line(key: str, line: Feed | Line, feed: Feed, busy_poll_us: int) -> socket.socket:
    """Returns a UDP socket that is bound to the line's address or joined to its multicast group, with the feed's
    receive buffer and time stamps.

    key: the configuration's name of the line, for the error. busy_poll_us: microseconds, 0 for the host's own.
    Raises RunError.
    """
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(_new_socket())
        _set_receive_buffer(sock, feed.receive_buffer)
        if busy_poll_us:
            with contextlib.suppress(OSError):  # more than net.core.busy_read needs CAP_NET_ADMIN
                sock.setsockopt(socket.SOL_SOCKET, _SO_BUSY_POLL, busy_poll_us)
        try:
            _bind_line(sock, line)
            if feed.timestamps != "none":
                flags = _STAMP_SOFTWARE if feed.timestamps == "kernel" else _STAMP_HARDWARE
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
        except OSError as error:
            on = f" on {line.interface}" if line.interface else ""
            raise RunError(f"{key} {line.address}:{line.port}{on}: {error.strerror}") from None
        undo.pop_all()
        return sock


def open_request(feed: Feed) -> socket.socket:
    """Returns a UDP socket that is connected to the request server (feed.request): nobody else's packets reach it.
    Raises RunError."""
    assert feed.request
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(_new_socket())
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, feed.receive_buffer)
        try:
            sock.connect((feed.request.address, feed.request.port))
        except OSError as error:
            raise RunError(f"feed.request {feed.request.address}:{feed.request.port}: {error.strerror}") from None
        undo.pop_all()
        return sock


def open_feed(feed: Feed, busy_poll_us: int) -> tuple[list[socket.socket | None], int]:
    """Returns the sockets of line A, line B and the request server, None where there is none, and the receive buffer's
    size in bytes as read back (the kernel doubles what is asked for, to pay for its own overhead); with a ring instead
    of the lines, the request server's at most, and 0.

    Raises RunError; then no socket is left open.
    """
    if feed.ring:
        return [None, None, open_request(feed) if feed.request else None], 0
    with contextlib.ExitStack() as undo:
        a = undo.enter_context(open_line("feed", feed, feed, busy_poll_us))
        b = undo.enter_context(open_line("feed.b", feed.b, feed, busy_poll_us)) if feed.b else None
        request = undo.enter_context(open_request(feed)) if feed.request else None
        undo.pop_all()
        return [a, b, request], a.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def pack_sources(feed: Feed) -> tuple[bytes, bytes, bytes]:
    """Returns, of line A, line B and the request server, the addresses that each datagram's sender is compared with,
    4 bytes each; nothing where the kernel does it: of a multicast group, and of the request server."""

    def pack(line: Feed | Line | None) -> bytes:
        if line is None or not line.address or ipaddress.IPv4Address(line.address).is_multicast:
            return b""
        return b"".join(map(socket.inet_aton, line.sources))

    return pack(feed), pack(feed.b), b""


def attach_ring(feed: Feed) -> Any:
    """Returns the ring to read the feed from, None where it comes from sockets. Raises RunError."""
    if not feed.ring:
        return None
    from agent.shm.ring import Ring, RingError

    try:
        return Ring.attach(Path(feed.ring), "reader")
    except (RingError, OSError) as error:
        raise RunError(f"feed.ring: {error}{feed_problems.explain_ring(Path(feed.ring))}") from None
