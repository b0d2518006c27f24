"""Secrets that one may do without, of a server that asks for none; how they are read is agent.secret's business."""

import os
from typing import Annotated

import msgspec

from agent import secret
from desk.errors import DeskError

#: The most that a secret may be: bytes.
MAX_BYTES = 4096
#: The absolute path of a file that holds a secret.
SecretFile = Annotated[str, msgspec.Meta(pattern=r"^/[^\0]{1,4094}\Z")]


def read_secret(key: str, path: str, credential: str) -> str | None:
    """Returns a secret, as agent.secret.read_secret(); None also where systemd hands over no credential of this name.
    Raises DeskError."""
    file = secret.find_secret(path, credential)
    if not path and not (file and os.path.exists(file)):
        return None
    try:
        found = secret.read_secret(key, path, credential, MAX_BYTES)
    except ValueError as error:
        raise DeskError(str(error)) from None
    return None if found is None else found.decode()
