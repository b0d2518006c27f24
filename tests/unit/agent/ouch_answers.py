"""The exchange's side of OUCH 5.0 in SoupBinTCP, as bytes written by hand, and a server that a test scripts."""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self


def packet(kind: bytes, payload: bytes = b"") -> bytes:
    """A SoupBinTCP packet."""
    return (1 + len(payload)).to_bytes(2, "big") + kind + payload


def sequenced(body: bytes) -> bytes:
    return packet(b"S", body)


def _order(side: bytes, quantity: int, price: int, state: bytes, symbol: bytes = b"BTCUSDT") -> bytes:
    return (
        side
        + struct.pack(">I", quantity)
        + symbol.ljust(8)
        + struct.pack(">Q", price)
        + b"0Y"
        + bytes(8)
        + b"PNN"
        + state
    )


def accepted(id: int, quantity: int = 5, price: int = 1_000_100, *, side: bytes = b"B", state: bytes = b"L") -> bytes:
    body = b"A" + bytes(8) + struct.pack(">I", id) + _order(side, quantity, price, state)
    return sequenced(body + b"0" * 14 + b"\0\0")


def replaced(
    original: int,
    id: int,
    quantity: int,
    price: int = 1_000_100,
    *,
    side: bytes = b"B",
    symbol: bytes = b"BTCUSDT",
    state: bytes = b"L",
) -> bytes:
    body = b"U" + bytes(8) + struct.pack(">II", original, id) + _order(side, quantity, price, state, symbol)
    return sequenced(body + b"0" * 14 + b"\0\0")


#: Match numbers of executions, none twice.
MATCHES = itertools.count(1_000_000)


def executed(id: int, quantity: int, price: int = 1_000_100, match: int | None = None) -> bytes:
    match = next(MATCHES) if match is None else match
    return sequenced(b"E" + bytes(8) + struct.pack(">IIQ", id, quantity, price) + b"R" + struct.pack(">QH", match, 0))


def canceled(id: int, quantity: int, reason: bytes = b"U") -> bytes:
    return sequenced(b"C" + bytes(8) + struct.pack(">II", id, quantity) + reason)


def rejected(id: int, reason: int = 1) -> bytes:
    return sequenced(b"J" + bytes(8) + struct.pack(">IH", id, reason) + b"0" * 14)


def query_answer(next_id: int) -> bytes:
    return sequenced(b"Q" + bytes(8) + struct.pack(">I", next_id))


def login_accepted(session: str, sequence: int) -> bytes:
    return packet(b"A", session.encode().rjust(10) + str(sequence).encode().rjust(20))


def read_all(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        assert more, f"the connection ended after {len(data)} of {size} bytes"
        data += more
    return data


def frames(data: bytes) -> list[bytes]:
    """The SoupBinTCP packets of a stream, whole ones, with their lengths."""
    found = []
    while data:
        size = 2 + int.from_bytes(data[:2], "big")
        found.append(data[:size])
        data = data[size:]
    return found


class Link:
    """One connection to the agent, from the exchange's end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10)

    def read(self) -> tuple[bytes, bytes]:
        """(type, payload) of the next packet that is not a heartbeat."""
        while True:
            head = read_all(self.sock, 3)
            body = read_all(self.sock, int.from_bytes(head[:2], "big") - 1)
            if head[2:] != b"R":
                return head[2:], body

    def login(self) -> tuple[str, int]:
        """Read a Login Request: (session, sequence number) that it asks for."""
        kind, body = self.read()
        assert kind == b"L" and len(body) == 46
        return body[16:26].decode().strip(), int(body[26:])

    def look(self, session: str, sequence: int) -> tuple[str, int]:
        """Read a Login Request that asks for no message of the past, and say which number the next one has: (session,
        sequence number) that it asks for."""
        wanted = self.login()
        self.send(login_accepted(session, sequence))
        return wanted

    def query(self) -> None:
        """Read an Account Query."""
        assert self.read() == (b"U", b"Q")

    def order(self) -> bytes:
        """The payload of the next Unsequenced Data."""
        kind, body = self.read()
        assert kind == b"U", (kind, body)
        return body

    def send(self, *data: bytes) -> None:
        self.sock.sendall(b"".join(data))


class Exchange:
    """A server in a thread of its own that plays a script for each connection; errors come out at the end."""

    def __init__(self, *scripts: Callable[[Link], None]) -> None:
        self._server = socket.socket()
        self._server.bind(("127.0.0.1", 0))
        self._server.listen(8)
        self._server.settimeout(10)
        self.port = self._server.getsockname()[1]
        self._scripts = scripts
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._play, daemon=True)

    def _play(self) -> None:
        try:
            for script in self._scripts:
                sock, _ = self._server.accept()
                with sock:
                    script(Link(sock))
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(20)
        self._server.close()
        if kind is None and self.error is not None:
            raise self.error
        assert kind is not None or not self._thread.is_alive()


@contextlib.contextmanager
def udp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A non-blocking receiving socket and one connected to it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as feed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        feed.bind(("127.0.0.1", 0))
        feed.setblocking(False)
        out.connect(feed.getsockname())
        yield feed, out
