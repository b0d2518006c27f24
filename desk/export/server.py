"""The exporter's HTTP server: that of prometheus_client, bounded in connections, time and work.

prometheus_client makes the answers; here is who gets one. A client that hangs, drips or floods costs a thread of a
fixed number for a fixed time. When all connections are in use, the oldest one is closed for the new one: one scrape
takes milliseconds, and what holds a connection for longer is no scrape. Source: RFC 9112.
"""

import contextlib
import errno
import io
import ipaddress
import os
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import ThreadingWSGIServer, choose_encoder, gzip_accepted, make_wsgi_app

from desk.errors import DeskError
from desk.settings.export import Export
from hosttune import files
from hosttune.output import print_traceback

Answer = tuple[str, list[tuple[str, str]], list[bytes]]
#: Seconds between two looks for connections that are too old.
_LOOK = 0.25
#: Of accept(2): this process, or the system, has no more descriptors or memory; and seconds until the next try.
_EXHAUSTED, _PAUSE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM), 0.05
#: Kinds of answers (text format, OpenMetrics, compressed or not) that are kept for reuse_ms.
_KINDS = 8
#: Of a private key's file, and a certificate's: bytes.
_MAX_KEY = 1 << 16
#: Of a file of authorities: bytes.
_MAX_AUTHORITIES = 1 << 22
_TEXT = [("Content-Type", "text/plain; charset=utf-8")]


class Counts:
    """What the server has counted, by name; each name is written by whoever holds the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.values = {"answers": 0, "evicted": 0, "refused": 0, "expired": 0, "broken": 0, "failed": 0}

    def add(self, name: str) -> None:
        """Count one."""
        with self._lock:
            self.values[name] += 1


class Answers:
    """The WSGI application: /metrics by prometheus_client, one at a time, each kept for `reuse` seconds."""

    def __init__(self, registry: CollectorRegistry, reuse: float, counts: Counts) -> None:
        self._make = make_wsgi_app(registry)
        self._reuse, self._counts = reuse, counts
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str, bool], tuple[float, Answer]] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request. A fault of ours is shown in the log, and to the client as 500 without its text."""
        try:
            status, headers, body = self._answer(environ)
        except Exception:
            self._counts.add("failed")
            print_traceback()
            status, headers, body = "500 Internal Server Error", _TEXT, [b"the metrics could not be collected\n"]
        start(status, headers)
        return body

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if environ.get("PATH_INFO") not in ("/metrics", "/metrics/"):
            return "404 Not Found", _TEXT, [b"allowed: GET /metrics\n"]
        environ["QUERY_STRING"] = ""
        # What the answer depends on, of which there are few; of headers there are as many as clients care to make up.
        kind = (
            environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in ("GET", "OPTIONS") else "",
            choose_encoder(environ.get("HTTP_ACCEPT", ""))[1],
            gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")),
        )
        with self._lock:
            self._counts.add("answers")
            now = time.monotonic()
            self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] < self._reuse}
            if kind in self._kept:
                return self._kept[kind][1]
            made: list[Any] = []
            body = list(self._make(environ, lambda *given: made.extend(given)))
            answer: Answer = (made[0], made[1], body)
            if len(self._kept) < _KINDS:
                self._kept[kind] = (time.monotonic(), answer)
            return answer


class _Handler(WSGIRequestHandler):
    """Logs nothing of what clients do: they are counted."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def get_stderr(self) -> Any:
        return io.StringIO()


class Server(ThreadingWSGIServer):
    """Listens, and answers in threads of which there are at most twice as many as connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, settings: Export, context: ssl.SSLContext | None, counts: Counts) -> None:
        self._most, self._seconds, self._context, self.counts = (
            settings.connections, settings.seconds, context, counts
        )  # fmt: skip
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        self._running = 0
        #: Called several times a second by the loop that takes connections.
        self.look: Callable[[], None] = lambda: None
        version = ipaddress.ip_address(settings.address).version
        self.address_family = socket.AF_INET6 if version == 6 else socket.AF_INET
        super().__init__((settings.address, settings.port), _Handler)

    def server_bind(self) -> None:
        """Bind, and ask no name server what the address is called, as the class would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Returns a connection, not read from yet: a TLS client's first bytes are waited for in its own thread."""
        try:
            connection, client = self.socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:  # the client stays in the queue: without a pause this would not rest
                self.counts.add("refused")
                time.sleep(_PAUSE)
            raise
        connection.settimeout(self._seconds)
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, client

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread; where all are in use, that of the oldest one is closed."""
        with self._lock:
            if len(self._open) >= self._most:
                self._end(min(self._open, key=self._open.__getitem__), "evicted")
            refused = self._running >= 2 * self._most
            if not refused:
                self._open[request] = time.monotonic()
                self._running += 1
        if refused:
            self.counts.add("refused")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._forget(request)
            self.counts.add("refused")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection; the class closes it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._open.pop(request, None)
            self._running -= 1

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Read a request and answer it."""
        if self._context:
            request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count a connection that broke: an error of the system or of TLS. Anything else is a fault of ours."""
        if isinstance(sys.exception(), OSError | ValueError):
            self.counts.add("broken")
        else:
            self.counts.add("failed")
            print_traceback()

    def service_actions(self) -> None:
        """End what has had its time, several times a second."""
        limit = time.monotonic() - self._seconds
        with self._lock:
            for connection, begun in list(self._open.items()):
                if begun < limit:
                    self._end(connection, "expired")
        self.look()

    def _end(self, connection: socket.socket, why: str) -> None:
        del self._open[connection]
        self.counts.add(why)
        with contextlib.suppress(OSError):
            # Of the socket below TLS: its thread wakes up, and closes it.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def run(self) -> None:
        """Answer until shutdown()."""
        self.serve_forever(_LOOK)


def make_context(settings: Export) -> ssl.SSLContext | None:
    """Returns TLS (1.2 or later) as configured, None for none. Raises DeskError, also for a private key that others
    than root and this user can read."""
    if not settings.certificate:
        return None
    at = "export.key"
    try:
        # The service manager gives a credential's file to the service's user by an access control list.
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        hidden = not (credentials and settings.key.startswith(f"{credentials}/"))
        files.read_file(settings.key, _MAX_KEY, hidden=hidden)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        at = "export.certificate"
        files.read_given(settings.certificate, _MAX_KEY)
        context.load_cert_chain(settings.certificate, settings.key, password=_refuse_password)
        if settings.client_ca:
            at = "export.client_ca"
            files.read_given(settings.client_ca, _MAX_AUTHORITIES)
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError too
        name = error.filename or getattr(settings, at.partition(".")[2])
        raise DeskError(f"{at}: {name}: {error.strerror or error}") from None
    return context


def _refuse_password() -> str:
    raise DeskError("export.key: found a key with a password, allowed: one without, in a file of mode 0600")


def open_server(settings: Export, registry: CollectorRegistry, counts: Counts) -> Server:
    """Returns a server that listens, and answers once it runs. Raises DeskError where it cannot listen there."""
    context = make_context(settings)
    try:
        server = Server(settings, context, counts)
    except OSError as error:
        raise DeskError(f"export: {settings.address} port {settings.port}: {error.strerror}") from None
    server.set_app(Answers(registry, settings.reuse_ms / 1000, counts))
    return server
