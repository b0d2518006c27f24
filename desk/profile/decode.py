"""JSON that another program, or somebody, has written."""

from typing import TypeVar

import msgspec

_T = TypeVar("_T")


def decode_json(data: bytes, kind: type[_T]) -> _T:
    """Returns what a JSON text holds. Raises ValueError for a text that is none, of another form, or nested too deeply.
    Source: RFC 8259."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
