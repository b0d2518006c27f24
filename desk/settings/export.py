"""[export]: where the exporter listens, and what bounds those who ask."""

from typing import Annotated

import msgspec
from msgspec import Meta

from desk.settings.address import check_address
from hosttune.refusals import check_all

_Path = Annotated[str, Meta(pattern=r"^(/[^\0]{1,4094})?\Z")]


class Export(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[export] of desk.toml.

    address, port: of IPv4 or IPv6, where the exporter listens. connections: at a time, seconds: of one from its begin
    to its end. reuse_ms: an answer this young is given again, so a flood of questions costs no more than a few.
    engines: that are read at most. textfile: what `hosttune check --format prometheus -o` wrote, where no node_exporter
    serves it; "": none. certificate, key: files in PEM of the exporter's TLS, "": none; client_ca: of those whom the
    exporter answers, "": all.
    """

    address: Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:.]{2,45}\Z")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9750
    connections: Annotated[int, Meta(ge=1, le=256)] = 16
    seconds: Annotated[int, Meta(ge=1, le=60)] = 5
    reuse_ms: Annotated[int, Meta(ge=0, le=10_000)] = 200
    engines: Annotated[int, Meta(ge=1, le=1024)] = 64
    textfile: _Path = ""
    certificate: _Path = ""
    key: _Path = ""
    client_ca: _Path = ""

    def __post_init__(self) -> None:
        check_all(lambda: check_address(self.address), self._check_tls)

    def _check_tls(self) -> None:
        given = [name for name in ("certificate", "key", "client_ca") if getattr(self, name)]
        if given and not (self.certificate and self.key):
            raise ValueError(f"{given[0]}: found a part of TLS, allowed: certificate and key, and with both client_ca")
