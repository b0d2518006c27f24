"""One connection to Redis, by redis-py and hiredis: no command is sent twice, and none waits for longer than [redis]
allows. Who uses it decides when to connect again.

redis-py's own retries are off: it makes them inside of each other (of a command, and of the connection that the command
opens), and by default they take seconds. Its own client-side cache is not used: it refuses servers before 7.4. Source:
Redis, Server-assisted client side caching (CLIENT TRACKING, broadcasting mode); RESP3.
"""

from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from desk.errors import DeskError
from desk.settings.redis import CREDENTIAL, Redis
from desk.settings.secret import read_secret
from hosttune.output import escape

#: Characters of a server's words that a message has at most.
_MOST_WORDS = 200
#: Keys that are kept of the invalidations between two calls of take_changes(): with more, all have changed.
_MOST_CHANGED = 10_000
#: Messages that wait() reads before it lets its caller look at them.
_MOST_MESSAGES = 1000
_PUSHED = object()

#: What redis-py raises for a connection that is of no use any more: also where the server refuses the password, or is
#: loading its data.
_LOST = (redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse, OSError)
Command = tuple[str | bytes | int, ...]
Refused = redis.ResponseError


class RedisLost(DeskError):
    """There is no connection to Redis, or it did not answer in time: one line, without a secret."""


class Link:
    """A connection, which connect() opens. name: what CLIENT LIST shows. tracked: a prefix of keys; what changes of
    them is told by take_changes()."""

    def __init__(self, settings: Redis, name: str, tracked: str = "") -> None:
        self._settings, self._name, self._tracked = settings, name, tracked
        self._connection: AbstractConnection | None = None
        self._changed: set[bytes] | None = set()

    @property
    def connected(self) -> bool:
        """Whether the connection was open when it was last used."""
        return self._connection is not None

    def connect(self) -> None:
        """Connect again. The secret is read each time, so that a new one needs no restart. Raises RedisLost, and
        DeskError where the secret cannot be read."""
        self.close()
        secret = read_secret("redis.password_file", self._settings.password_file or "", CREDENTIAL)
        self._connection, self._changed = _make_connection(self._settings, self._name, secret), set()
        try:
            self._connection.connect()
            self._connection._parser.set_invalidation_push_handler(self._note_changes)
        except (*_LOST, redis.RedisError) as error:
            raise self._lose(error, secret) from None
        if self._tracked:
            (answer,) = self.exchange([("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._tracked)])
            if isinstance(answer, Refused):
                raise self._lose(answer, secret)

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once. Returns the answers, of which an error of one command is an instance of Refused.
        Raises RedisLost; then the connection is closed."""
        connection = self._need_connection()
        answers: list[Any] = []
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            while len(answers) < len(commands):
                try:
                    answer = connection.read_response(push_request=True)
                except redis.ResponseError as refused:
                    answer = refused
                if answer is not _PUSHED:
                    answers.append(answer)
        except _LOST as error:
            raise self._lose(error) from None
        return answers

    def wait(self, seconds: float) -> bool:
        """Wait until the server says something unasked. Returns whether it did. Raises RedisLost."""
        connection, some = self._need_connection(), False
        try:
            for _ in range(_MOST_MESSAGES):
                if not connection.can_read(seconds):
                    break
                seconds, some = 0, True
                connection.read_response(push_request=True)
        except (*_LOST, redis.ResponseError) as error:
            raise self._lose(error) from None
        return some

    def take_changes(self) -> set[bytes] | None:
        """Returns the keys that have changed since the last call, None for all: a flush, or too many of them."""
        changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        """Close the connection; its changes are forgotten."""
        if self._connection is not None:
            self._connection.disconnect()
        self._connection = None

    def _need_connection(self) -> AbstractConnection:
        if self._connection is None:
            raise RedisLost(f"redis {self._settings.place}: not connected")
        return self._connection

    def _note_changes(self, message: list[Any]) -> object:
        keys = message[1] if len(message) > 1 else None
        if self._changed is not None:
            if isinstance(keys, list) and len(keys) + len(self._changed) <= _MOST_CHANGED:
                self._changed.update(key for key in keys if isinstance(key, bytes))
            else:
                self._changed = None
        return _PUSHED

    def _lose(self, error: Exception, secret: str | None = None) -> RedisLost:
        self.close()
        return RedisLost(f"redis {self._settings.place}: {explain(error, secret)}")


def explain(error: Exception, secret: str | None = None) -> str:
    """Returns what redis-py or the server said in one bounded line of printable characters, without the secret."""
    words = str(error) or type(error).__name__
    if secret:
        words = words.replace(secret, "(secret)")
    words = " ".join(words[: 2 * _MOST_WORDS].split())
    return escape(words if len(words) <= _MOST_WORDS else words[:_MOST_WORDS] + " ...")


def _make_connection(settings: Redis, name: str, secret: str | None) -> AbstractConnection:
    options: dict[str, Any] = {
        "db": settings.database,
        "username": settings.username or None,
        "password": secret,
        "socket_timeout": settings.read_timeout_ms / 1000,
        "socket_connect_timeout": settings.connect_timeout_ms / 1000,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 3,
        "driver_info": None,  # each of its two commands is one more answer to wait for
        "client_name": name,
    }
    if settings.socket:
        return UnixDomainSocketConnection(path=settings.socket, **options)
    options |= {"host": settings.host, "port": settings.port, "socket_keepalive": True}
    if not (tls := settings.tls):
        return Connection(**options)
    return SSLConnection(
        ssl_cert_reqs="required", ssl_check_hostname=tls.check_hostname, ssl_ca_certs=tls.ca or None,
        ssl_certfile=tls.certificate or None, ssl_keyfile=tls.key or None, **options)  # fmt: skip
