"""Secrets: in a file that nobody but its owner can read, or a systemd credential; in no configuration, which diffs
show, and in no message."""

import os
import re

from hosttune import files

#: The most that the file of one may have: bytes.
_MAX_BYTES = 1 << 16


def find_secret(path: str, credential: str) -> str | None:
    """Returns the path of the file that holds a secret: the given one; else, where systemd hands any over, of the
    credential of this name (LoadCredential= of systemd.exec(5)), which need not be there; else None."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return path or (f"{directory}/{credential}" if directory else None)


def read_secret(key: str, path: str, credential: str, most: int) -> bytes | None:
    """Returns the secret in the file at path, which nobody but its owner (root or this user) can read, and nobody else
    can put another one in the place of; where path is "", in the systemd credential; None where none is handed over. A
    line end behind it does not count. key: of the configuration, which says the path; most: bytes of the secret.

    Raises ValueError, whose message begins with the key and never holds what is in the file.
    """
    file = find_secret(path, credential)
    if file is None:
        return None
    try:
        # Whom else a credential's mode shows (a mask of an access control list) its directory keeps out.
        data = files.read_file(files.find_name(file) if path else file, _MAX_BYTES, hidden=bool(path))
    except OSError as error:
        raise ValueError(f"{key}: {error.filename}: {error.strerror}") from None
    secret = data.removesuffix(b"\n")
    if not re.fullmatch(rb"[ -~]{1,%d}" % most, secret):
        raise ValueError(
            f"{key}: {path or f'the credential {credential}'}: found {len(secret):,} bytes, allowed: one line of 1 to "
            f"{most:,} printable ASCII characters"
        )
    return secret
