"""A finding of launch: one hop, what is so now."""

from __future__ import annotations

from typing import Any

from hosttune.findings import Finding, Status
from hosttune.hops import build_single_finding


def make_finding(
    name: str, status: Status, wanted: Any, found: Any, source: str, why: str = "", fix: str = ""
) -> Finding:
    """Build the finding `launch.NAME`; `source` is the file or the system call that told what was found."""
    return build_single_finding(f"launch.{name}", status, wanted, found, source, why=why, fix=fix)
