"""Route-netlink dumps as plain data.

A dump is one request, a bounded wait, and a few fields of each answer: a library for it would take longer to import
than the whole check takes.
Sources: rtnetlink(7), `include/uapi/linux/rtnetlink.h`, `Documentation/userspace-api/netlink/intro.rst`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

RTM_GETQDISC = 38
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3

TIMEOUT_SECONDS = 2.0
ATTEMPTS = 3
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
TCMSG = struct.Struct("=B3xiIII")  # struct tcmsg: family, interface's index, handle, parent, info
RTATTR = struct.Struct("=HH")
TCA_KIND = 1


def dump(request: str) -> list[dict[str, Any]]:
    """Return one dump by name.

    `qdisc`: every attached queueing discipline as {"interface": name, "kind": "fq", "handle": int,
    "parent": int}. Handles are `major << 16 | minor`; parent 0xffffffff is the root of the interface,
    0xfffffff1 its ingress hook.

    Raises OSError with the kernel's errno (ETIMEDOUT after 2 s without an answer), and KeyError for a
    name that is not listed here.
    """
    kind, decode = {"qdisc": (RTM_GETQDISC, _qdiscs)}[request]
    return decode(_messages(kind))


def _qdiscs(messages: list[bytes]) -> list[dict[str, Any]]:
    found = []
    names = dict(socket.if_nameindex())
    for message in messages:
        try:
            _, index, handle, parent, _ = TCMSG.unpack_from(message, HEADER.size)
            kind = _attribute(message, HEADER.size + TCMSG.size, TCA_KIND)
        except struct.error:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)) from None
        found.append(
            {
                "interface": names.get(index, f"index {index}"),
                "kind": None if kind is None else kind.rstrip(b"\0").decode("ascii", "replace"),
                "handle": handle,
                "parent": parent,
            }
        )
    return found


def _attribute(message: bytes, offset: int, wanted: int) -> bytes | None:
    """The value of an attribute (struct rtattr: length, type, value, padding to 4 bytes), None where it is not there."""
    while offset + RTATTR.size <= len(message):
        length, kind = RTATTR.unpack_from(message, offset)
        if length < RTATTR.size or offset + length > len(message):
            raise struct.error("an attribute overruns its message")
        if kind == wanted:
            return message[offset + RTATTR.size : offset + length]
        offset += (length + 3) & ~3
    return None


def _messages(kind: int) -> list[bytes]:
    """Request a dump and return its messages, headers included; a dump the kernel interrupted is repeated."""
    for _ in range(ATTEMPTS):
        messages, interrupted = _exchange(kind)
        if not interrupted:
            return messages
    raise OSError(errno.EAGAIN, "the table kept changing while it was read")


def _exchange(kind: int) -> tuple[list[bytes], bool]:
    # Payload: struct tcmsg, all zero: every interface of this network namespace.
    payload = bytes(20)
    request = HEADER.pack(HEADER.size + len(payload), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + payload
    messages: list[bytes] = []
    interrupted = False
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
        link.settimeout(TIMEOUT_SECONDS)
        link.bind((0, 0))
        link.send(request)
        while True:
            try:
                data = link.recv(1 << 17)
            except TimeoutError:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
            offset = 0
            while offset + HEADER.size <= len(data):
                length, answer, flags, _, _ = HEADER.unpack_from(data, offset)
                if length < HEADER.size:
                    raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if answer == NLMSG_DONE:
                    return messages, interrupted
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data, offset + HEADER.size)[0]
                    raise OSError(code, os.strerror(code))
                messages.append(data[offset : offset + length])
                offset += (length + 3) & ~3
