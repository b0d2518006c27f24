"""[redis]: where Redis is, who asks it, and how long an exchange with it may take."""

from typing import Annotated

import msgspec

from agent.config import FilePath, Port
from desk.settings.secret import SecretFile

#: The most that connecting and one answer may take together: ms.
MOST_STALL_MS = 600
#: The systemd credential that holds the password.
CREDENTIAL = "redis_password"

#: Of a server that is not named otherwise.
_HOST, _PORT = "127.0.0.1", 6379

Wait = Annotated[int, msgspec.Meta(ge=10, le=500)]


class Tls(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The server's certificate is always checked. ca: file with the authorities' certificates (default: the system's);
    certificate, key: files of this client's own; check_hostname: whether the certificate has to name the host."""

    ca: FilePath = ""
    certificate: FilePath = ""
    key: FilePath = ""
    check_hostname: bool = True

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate: found without its key, or the key without it; allowed: both, or none")


class Redis(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A server by host (default: this one) and port (default: 6379), or by the path of its Unix socket. password_file:
    default is the systemd credential redis_password. connect_timeout_ms, read_timeout_ms: of one connection and of one
    answer; no command is sent twice. retry_min_ms, retry_max_ms: pause before the next connection, doubled after each
    that failed."""

    host: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,253}\Z")] = ""
    port: Port = 0
    socket: FilePath = ""
    database: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    username: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,128}\Z")] = ""
    password_file: SecretFile | None = None
    tls: Tls | None = None
    connect_timeout_ms: Wait = 200
    read_timeout_ms: Wait = 200
    retry_min_ms: Annotated[int, msgspec.Meta(ge=5, le=10_000)] = 20
    retry_max_ms: Annotated[int, msgspec.Meta(ge=5, le=10_000)] = 500

    def __post_init__(self) -> None:
        if self.socket and (self.host or self.port):
            given = " and ".join(name for name in ("host", "port") if getattr(self, name))
            raise ValueError(f"socket: found with {given}, allowed: socket, or host and port")
        if not self.socket:  # what is given is known by its difference from what none may give
            msgspec.structs.force_setattr(self, "host", self.host or _HOST)
            msgspec.structs.force_setattr(self, "port", self.port or _PORT)
        if (total := self.connect_timeout_ms + self.read_timeout_ms) > MOST_STALL_MS:
            raise ValueError(
                f"connect_timeout_ms + read_timeout_ms: found {total}, allowed: at most {MOST_STALL_MS} together"
            )
        if self.retry_min_ms > self.retry_max_ms:
            raise ValueError(
                f"retry_min_ms: found {self.retry_min_ms}, allowed: at most retry_max_ms ({self.retry_max_ms})"
            )
        if self.socket and self.tls:
            raise ValueError("tls: found with socket, allowed: with host and port")

    @property
    def place(self) -> str:
        """Where the server is, for messages."""
        return self.socket or f"{self.host}:{self.port}"
