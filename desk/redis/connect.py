"""Connecting to Redis, by redis-py, in a thread of its own: looking a name up, TCP, TLS and the password may take what
they take, and nobody waits.

redis-py's own retries are off: it makes them inside of each other (of a command, and of the connection that the command
opens), and by default they take seconds.
"""

import os
import threading
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from desk.errors import DeskError
from desk.redis.words import explain
from desk.settings.redis import CREDENTIAL, Redis
from desk.settings.secret import read_secret
from hosttune import files


class Connecting:
    """A connection that is being made."""

    def __init__(self, settings: Redis, name: str) -> None:
        """Begin. name: what CLIENT LIST shows. The secret is read each time, so that a new one needs no restart. Raises
        DeskError where it cannot be read, or the process may have no more threads."""
        self._secret = read_secret("redis.password_file", settings.password_file or "", CREDENTIAL)
        self._settings, self._name = settings, name
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._given_up = False
        #: Why there is no connection, one line without the secret; "" where there is one, or it is not known yet.
        self.problem = ""
        self._connection: AbstractConnection | None = None
        try:
            threading.Thread(target=self._connect, name="connect to Redis", daemon=True).start()
        except RuntimeError as error:
            raise DeskError(f"redis {settings.place}: {error}") from None

    def wait(self, seconds: float) -> bool:
        """Wait at most so long. Returns whether it has ended, well or with a problem."""
        return self._done.wait(seconds)

    def take(self) -> AbstractConnection | None:
        """Returns the connection once it is there; whoever takes it closes it."""
        with self._lock:
            connection, self._connection = self._connection, None
        return connection

    def give_up(self) -> None:
        """Close what is there, or will be."""
        with self._lock:
            self._given_up = True
        if connection := self.take():
            connection.disconnect()

    def explain(self, error: Exception) -> str:
        """Returns what the server or redis-py said, in one line without the secret."""
        return explain(error, self._secret)

    def _connect(self) -> None:
        try:
            _check_files(self._settings)
            connection = _make_connection(self._settings, self._name, self._secret)
            connection.connect()
            with self._lock:
                if not self._given_up:
                    self._connection = connection
                    return
            connection.disconnect()
        except Exception as error:  # redis-py believes that a server's answers have the types of Redis's
            self.problem = explain(error, self._secret)
        finally:
            self._done.set()


def _check_files(settings: Redis) -> None:
    """Raise OSError with the key and the name of a file of [redis.tls] that cannot be read: OpenSSL's has neither."""
    for name in ("ca", "certificate", "key") if settings.tls else ():
        if path := getattr(settings.tls, name):
            try:
                os.close(files.open_given(path))
            except OSError as error:
                raise OSError(f"tls.{name}: {path}: {error.strerror}") from None


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


#: What redis-py and the socket raise where a connection is of no use any more.
LOST = (redis.RedisError, OSError)
