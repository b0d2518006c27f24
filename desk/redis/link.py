"""One connection to Redis: redis-py makes it, hiredis packs commands and parses answers, and nothing waits but wait().

A talk is a generator: it yields commands, which are sent at once, and gets their answers once all are there. Several
are on the way at a time, answered in the order in which they were sent. No command is sent twice; one whose answers are
not there after read_timeout_ms loses the connection. redis-py's own client-side cache is not used: it refuses servers
before 7.4. Source: Redis, Server-assisted client side caching (CLIENT TRACKING, broadcasting mode); RESP3.
"""

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import hiredis
import msgspec
import redis
from redis.connection import AbstractConnection

from desk.errors import DeskError
from desk.redis.connect import LOST, Connecting
from desk.redis.words import explain
from desk.settings.redis import Redis

#: Keys that are kept of the invalidations between two calls of take_changes(): with more, all may have changed.
_MOST_CHANGED = 10_000
#: Bytes of a read from the socket, and reads before the caller of wait() is let go on.
_READ = 1 << 16
_MOST_READS = 16
#: Bytes that an answer may have, with all that was read behind it.
MOST_ANSWER = 1 << 20
_NONE = object()

Command = tuple[Any, ...]  # of str, bytes and int
Talk = Generator[Sequence[Command], list[Any], None]
Refused = redis.ResponseError


class RedisLost(DeskError):
    """There is no connection to Redis, or it did not answer in time: one line, without a secret."""


class TooLong(RedisLost):
    """Redis began an answer of more than MOST_ANSWER bytes."""


class _Asked(msgspec.Struct):
    """Commands on the way. due: seconds of time.monotonic() until which they are answered, once those before are."""

    talk: Talk
    wanted: int
    due: float
    answers: list[Any]


class Link:
    """A connection, which begin_connecting() opens. name: what CLIENT LIST shows. tracked: a prefix of keys; what
    changes of them is told by take_changes()."""

    def __init__(self, settings: Redis, name: str, tracked: str = "") -> None:
        self._settings, self._name, self._tracked = settings, name, tracked
        self._connecting: Connecting | None = None
        self._connection: AbstractConnection | None = None
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._reader = hiredis.Reader()
        self._asked: deque[_Asked] = deque()
        self._out = bytearray()
        self._changed: set[bytes] | None = set()
        self._flushed = False

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._socket is not None

    @property
    def connecting(self) -> bool:
        """Whether a connection is being made."""
        return self._connecting is not None

    def begin_connecting(self) -> None:
        """Begin to connect again; wait() takes the connection once it is there. Raises DeskError where the secret
        cannot be read."""
        self.close()
        self._connecting = Connecting(self._settings, self._name)

    def begin(self, talk: Talk) -> None:
        """Send the first commands of a talk. Raises RedisLost, and what the talk raises."""
        try:
            commands = next(talk)
        except StopIteration:
            return
        self._send(talk, commands)
        self._flush()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long until the server says something, and carry on the talks that it answers. Returns whether
        a connection has come up, an answer was there or a change was told. Raises RedisLost, and what a talk raises:
        then the connection is closed."""
        if self._connecting is not None:
            return self._wait_for_connection(self._connecting, seconds)
        try:
            if self._asked:
                seconds = min(seconds, self._asked[0].due - time.monotonic())
            some = self._wait_for_data(max(0.0, seconds)) and self._read()
            if self._asked and time.monotonic() > self._asked[0].due:
                raise self._lose(redis.TimeoutError(f"no answer within {self._settings.read_timeout_ms} ms"))
        except DeskError:
            self.close()
            raise
        return some

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands, and wait for their answers, of which an error of one command is an instance of Refused. Raises
        RedisLost, and what another talk raises."""
        found: list[Any] = []

        def talk() -> Talk:
            found.extend((yield commands))

        self.begin(talk())
        while len(found) < len(commands):
            self.wait(self._settings.read_timeout_ms / 1000)
        return found

    def connect(self) -> None:
        """Connect again, and wait for it. Raises RedisLost and DeskError."""
        self.begin_connecting()
        while self.connecting:
            self.wait(1.0)

    def take_changes(self) -> tuple[set[bytes] | None, bool]:
        """Returns the keys that have changed since the last call, None for all: a flush, or too many of them; and
        whether it was a flush."""
        found = self._changed, self._flushed
        self._changed, self._flushed = set(), False
        return found

    def close(self) -> None:
        """Close the connection, and end the talks; its changes are forgotten."""
        if self._connecting is not None:
            self._connecting.give_up()
        if self._socket is not None:
            self._poll.unregister(self._socket)
        if self._connection is not None:
            self._connection.disconnect()
        self._connecting = self._connection = self._socket = None
        asked, self._asked = self._asked, deque()
        for one in asked:
            one.talk.close()
        self._out = bytearray()
        self._changed, self._flushed = set(), False

    def _wait_for_connection(self, connecting: Connecting, seconds: float) -> bool:
        if not connecting.wait(seconds):
            return False
        self._connecting = None
        if (connection := connecting.take()) is None:
            raise self._lose_words(connecting.problem)
        self._connection = connection
        try:
            self._socket = connection._sock
            self._socket.setblocking(False)
        except LOST as error:
            raise self._lose(error) from None
        self._reader = hiredis.Reader(replyError=Refused, protocolError=redis.InvalidResponse, notEnoughData=_NONE)
        self._poll.register(self._socket, select.POLLIN)
        if self._tracked:
            self.begin(self._track(connecting))
        return True

    def _track(self, connecting: Connecting) -> Talk:
        (answer,) = yield [("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._tracked)]
        if isinstance(answer, Refused):
            raise self._lose_words(f"CLIENT TRACKING: {connecting.explain(answer)}")

    def _send(self, talk: Talk, commands: Sequence[Command]) -> None:
        if self._socket is None:
            raise RedisLost(f"redis {self._settings.place}: not connected")
        for command in commands:
            self._out += hiredis.pack_command(command)
        self._asked.append(_Asked(talk, len(commands), time.monotonic() + self._settings.read_timeout_ms / 1000, []))

    def _flush(self) -> None:
        """Send what the socket takes."""
        assert self._socket is not None
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            raise self._lose(error) from None
        self._poll.modify(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))

    def _wait_for_data(self, seconds: float) -> bool:
        """Returns whether there may be something to read."""
        if self._socket is None:
            raise RedisLost(f"redis {self._settings.place}: not connected")
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        events = self._poll.poll(seconds * 1000)
        if self._out and events:
            self._flush()
        return bool(events)

    def _read(self) -> bool:
        """Take what is there. Returns whether anything was whole."""
        some = False
        for _ in range(_MOST_READS):
            try:
                data = self._socket.recv(_READ) if self._socket else b""
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                raise self._lose(error) from None
            if not data:
                raise self._lose_words("the server has closed the connection")
            some |= self._parse(data)
            if len(data) < _READ:
                break
        return some

    def _parse(self, data: bytes) -> bool:
        some = False
        self._reader.feed(data)
        while (answer := self._take_answer()) is not _NONE:
            some = True
            if isinstance(answer, hiredis.PushNotification):
                self._note_push(answer)
            else:
                self._hand_on(answer)
        if self._reader.len() > MOST_ANSWER:
            raise TooLong(f"redis {self._settings.place}: an answer of more than {MOST_ANSWER:,} bytes")
        return some

    def _take_answer(self) -> Any:
        """Returns the next answer that is whole, else _NONE."""
        try:
            return self._reader.gets()
        except Exception as error:  # hiredis: a map whose key is a list, say, is a TypeError
            raise self._lose(error) from None

    def _hand_on(self, answer: Any) -> None:
        """Give an answer to the talk that waits for it."""
        if not self._asked:
            raise self._lose_words("an answer that nobody has asked for")
        first = self._asked[0]
        first.answers.append(answer)
        if len(first.answers) == first.wanted:
            self._asked.popleft()
            if self._asked:  # which the server has begun with only now
                self._asked[0].due = time.monotonic() + self._settings.read_timeout_ms / 1000
            try:
                commands = first.talk.send(first.answers)
            except StopIteration:
                return
            self._send(first.talk, commands)
            self._flush()

    def _note_push(self, message: list[Any]) -> None:
        if not message or message[0] != b"invalidate":
            return
        keys = message[1] if len(message) > 1 else None
        if not isinstance(keys, list):
            self._changed, self._flushed = None, True
        elif self._changed is not None:
            try:
                self._changed.update(keys)
            except TypeError:  # a list for a key
                self._changed = None
            else:
                self._changed = None if len(self._changed) > _MOST_CHANGED else self._changed

    def _lose(self, error: Exception) -> RedisLost:
        return self._lose_words(explain(error))

    def _lose_words(self, words: str) -> RedisLost:
        self.close()
        return RedisLost(f"redis {self._settings.place}: {words}")
