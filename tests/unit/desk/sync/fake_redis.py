"""A server that speaks Redis's protocol, and says what a test wants it to say."""

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import hiredis

#: Returns the bytes of the answer to a command; b"": none.
Answer = Callable[[list[bytes]], bytes]
OK = b"+OK\r\n"
HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"


def behave(command: list[bytes]) -> bytes:
    """Answer as an empty Redis does."""
    match command[0].upper():
        case b"HELLO":
            return HELLO
        case b"PING":
            return b"+PONG\r\n"
        case b"GETRANGE":
            return b"$0\r\n\r\n"
        case b"MGET":
            return b"*%d\r\n" % (len(command) - 1) + b"_\r\n" * (len(command) - 1)
        case b"SCAN":
            return b"*2\r\n$1\r\n0\r\n*0\r\n"
    return OK


class FakeRedis:
    """Answers each command after `delay` seconds, one byte every `drip` seconds where that is set."""

    def __init__(self, answer: Answer = behave, delay: float = 0, drip: float = 0) -> None:
        self.answer, self.delay, self.drip = answer, delay, drip
        self.commands: list[list[bytes]] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self.socket, *self.connections):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        try:
            while data := connection.recv(1 << 16):
                reader.feed(data)
                commands = []
                while command := reader.gets():
                    commands.append(command)
                self.commands += commands
                if commands:  # those that came together are answered together, as by a server that is far away
                    time.sleep(self.delay)
                    self._send(connection, b"".join(map(self.answer, commands)))
        except (OSError, hiredis.HiredisError):  # also somebody else's client, at a port that was its server's
            connection.close()

    def _send(self, connection: socket.socket, data: bytes) -> None:
        if not self.drip:
            connection.sendall(data)
            return
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(self.drip)
