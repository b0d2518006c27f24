"""SoupBinTCP packets of a session's start, as published.

Source: Nasdaq "SoupBinTCP Version 3.00", section 2: a packet is a 2-byte big-endian length of what
follows, a type, and the payload; alphanumeric fields are padded with spaces, left-justified except
where the document says otherwise (the session and sequence number: on the left).
"""

USERNAME, PASSWORD, SESSION, SEQUENCE = 6, 10, 10, 20
LOGIN_SIZE = 49


def packet(kind: bytes, payload: bytes = b"") -> bytes:
    """A logical packet: length, type, payload."""
    return (1 + len(payload)).to_bytes(2, "big") + kind + payload


def login_request(username: str, password: str, session: str = "", sequence: int = 1) -> bytes:
    """Login Request (client): ask for messages of a session (blank: the current one) from `sequence`.

    Raises ValueError for a name or password that is not ASCII or too long.
    """
    fields = b""
    for name, value, size in (("username", username, USERNAME), ("password", password, PASSWORD)):
        if not value.isascii() or len(value) > size:
            raise ValueError(f"{name}: {value!r}, allowed: at most {size} ASCII characters")
        fields += value.encode().ljust(size)
    return packet(b"L", fields + session.encode().rjust(SESSION) + str(sequence).encode().rjust(SEQUENCE))


def login_accepted(session: str, sequence: int) -> bytes:
    """Login Accepted (server)."""
    return packet(b"A", session.encode().rjust(SESSION) + str(sequence).encode().rjust(SEQUENCE))


def login_rejected(reason: bytes) -> bytes:
    """Login Rejected (server): b"A" not authorised, b"S" session not available."""
    return packet(b"J", reason)


def parse_login(data: bytes) -> tuple[str, str] | None:
    """(username, password) of a whole Login Request at the start of data; None if it is not one."""
    if len(data) < LOGIN_SIZE or data[:3] != packet(b"L", b" " * 46)[:3]:
        return None
    return (data[3:9].decode("ascii", "replace").strip(), data[9:19].decode("ascii", "replace").strip())
