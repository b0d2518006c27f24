"""Route-netlink dumps as plain data.

pyroute2 encodes and decodes the messages; the transport is a plain socket, because a dump is one request
and a bounded wait, and pyroute2's own sockets bring an event loop with them.
Sources: rtnetlink(7), `include/uapi/linux/rtnetlink.h`, `Documentation/userspace-api/netlink/intro.rst`.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import struct
import sys
from typing import Any

RTM_GETQDISC = 38
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3

TIMEOUT_SECONDS = 2.0
ATTEMPTS = 3
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port


def dump(request: str) -> list[dict[str, Any]]:
    """Return one dump by name.

    `qdisc`: every attached queueing discipline as {"interface": name, "kind": "fq", "handle": int,
    "parent": int}. Handles are `major << 16 | minor`; parent 0xffffffff is the root of the interface,
    0xfffffff1 its ingress hook.

    Raises OSError with the kernel's errno (ETIMEDOUT after 2 s without an answer), and KeyError for a
    name that is not listed here.
    """
    kind, decode = {"qdisc": (RTM_GETQDISC, _decode_qdiscs)}[request]
    return decode(_request_messages(kind))


def _decode_qdiscs(messages: list[bytes]) -> list[dict[str, Any]]:
    base = _import_message_class()

    # pyroute2's own tcmsg class decodes every option of every discipline and costs 25 ms to import;
    # this is the same message with the one attribute that is asked for.
    class QdiscMessage(base):  # type: ignore[misc,valid-type]
        fields = (
            ("family", "B"),
            ("pad1", "B"),
            ("pad2", "H"),
            ("index", "i"),
            ("handle", "I"),
            ("parent", "I"),
            ("info", "I"),
        )
        nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"))

    found = []
    names = dict(socket.if_nameindex())
    for raw in messages:
        message = QdiscMessage(raw)
        message.decode()
        found.append(
            {
                "interface": names.get(message["index"], f"index {message['index']}"),
                "kind": message.get_attr("TCA_KIND"),
                "handle": message["handle"],
                "parent": message["parent"],
            }
        )
    return found


def _import_message_class() -> type:
    """`pyroute2.netlink.nlmsg`, without the rest of pyroute2.

    The package's `__init__` imports every part of the library (about 150 ms). Its submodules work
    without it, so it is put in place unexecuted while the one submodule is imported, and taken away
    again: a later `import pyroute2` by anybody gets the real package.
    """
    if "pyroute2" in sys.modules:
        from pyroute2.netlink import nlmsg
    else:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None:
            raise OSError(errno.ENOPKG, "pyroute2 is not installed")
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
        try:
            from pyroute2.netlink import nlmsg
        finally:
            del sys.modules["pyroute2"]
    return nlmsg  # type: ignore[no-any-return]


def _request_messages(kind: int) -> list[bytes]:
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
