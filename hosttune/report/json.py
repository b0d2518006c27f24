"""The report as JSON, described by `schema.json` beside this file."""

from __future__ import annotations

import msgspec

from hosttune.findings import Report


def write(report: Report) -> str:
    """Return the report as one indented JSON object and a newline."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def read(text: bytes) -> Report:
    """Read what :func:`write` wrote. Raises msgspec.MsgspecError (a ValueError) for anything else."""
    return msgspec.json.decode(text, type=Report)
