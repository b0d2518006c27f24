"""Secrets: a file of mode 0600, or a systemd credential, is where one may be; never desk.toml, which diffs show."""

import os
from typing import Annotated

import msgspec

from desk.errors import DeskError
from hosttune import files

#: The most that a secret may be: bytes.
MAX_BYTES = 4096
#: The absolute path of a file that holds a secret.
SecretFile = Annotated[str, msgspec.Meta(pattern=r"^/[^\0]{1,4094}\Z")]


def read_secret(key: str, path: str, credential: str) -> str | None:
    """Returns the secret in the file at path, which nobody but its owner (root or this user) can read or replace; where
    path is "", the systemd credential of this name (LoadCredential= of systemd.exec(5)); None where there is neither. A
    line end behind it does not count. key: the key of desk.toml that says which file.

    Raises DeskError, whose message never holds what is in the file.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    file = path or f"{directory}/{credential}"
    if not path and not (directory and os.path.exists(file)):
        return None
    try:
        data = files.read_file(file, MAX_BYTES, hidden=bool(path))
    except OSError as error:
        raise DeskError(f"{key}: {error.filename}: {error.strerror}") from None
    text = data.removesuffix(b"\n")
    if not text or not all(0x20 <= byte < 0x7F for byte in text):
        where = path or f"the credential {credential}"
        raise DeskError(f"{key}: {where}: found {len(text):,} bytes, allowed: one line of printable ASCII characters")
    return text.decode()
