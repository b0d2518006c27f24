"""A client of QEMU's machine protocol: JSON lines over a stream socket (QEMU's docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

from testhost.errors import TesthostError

Message = dict[str, Any]


class Qmp:
    """Owns a connected socket. Events that come between a command and its answer are kept for `event`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self._events: deque[Message] = deque()
        self.closed = False

    @classmethod
    def connect(cls, path: Path, timeout: float) -> Qmp:
        """Connects to a unix socket of any path length. Raises TesthostError when QEMU does not answer."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sock.connect(f"/proc/self/fd/{directory}/{path.name}")
            finally:
                os.close(directory)
            qmp = cls(sock)
            qmp.negotiate(timeout)
        except OSError as error:
            sock.close()
            raise TesthostError(f"cannot reach QEMU at {path}: {error.strerror or error}") from error
        except BaseException:
            sock.close()
            raise
        return qmp

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def _read(self, deadline: float) -> Message | None:
        """One message; None when the time is over or QEMU has closed."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left < 0:
                return None
            self._sock.settimeout(max(left, 0.001))
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                return None
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def negotiate(self, timeout: float) -> None:
        """Reads the greeting and leaves capabilities negotiation mode."""
        deadline = time.monotonic() + timeout
        greeting = self._read(deadline)
        if greeting is None or "QMP" not in greeting:
            raise TesthostError("QEMU did not greet on its control socket")
        self.command("qmp_capabilities", timeout=max(deadline - time.monotonic(), 1))

    def command(self, name: str, timeout: float, **arguments: Any) -> Any:
        """Runs a command and returns its answer. Raises TesthostError with QEMU's own words on an error."""
        request: Message = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        try:
            self._sock.settimeout(timeout)
            self._sock.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise TesthostError(f"QEMU does not take {name}: {error}") from error
        deadline = time.monotonic() + timeout
        while True:
            message = self._read(deadline)
            if message is None:
                why = "closed the connection" if self.closed else f"did not answer within {timeout:.0f} s"
                raise TesthostError(f"QEMU {why} ({name})")
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise TesthostError(f"QEMU refuses {name}: {message['error'].get('desc', message['error'])}")
            else:
                return message.get("return")

    def monitor(self, line: str, timeout: float) -> str:
        """Runs a command of the human monitor and returns its output, which is where it also puts errors."""
        return str(self.command("human-monitor-command", timeout, **{"command-line": line}))

    def snapshots(self) -> list[str]:
        """Tags of the saved machine states, oldest first."""
        lines = self.monitor("info snapshots", 30).splitlines()
        # A table: a title, a heading `ID TAG VM-SIZE …`, then rows; ID is `--` when all disks have the state.
        return [line.split()[1] for line in lines if re.match(r"(--|\d+)\s", line)]

    def event(self, timeout: float) -> Message | None:
        """The next event, or None when none came in time or QEMU has closed (see `closed`)."""
        if self._events:
            return self._events.popleft()
        deadline = time.monotonic() + timeout
        while (message := self._read(deadline)) is not None:
            if "event" in message:
                return message
        return None
