"""What one round of `desk report` measured."""

import msgspec

from desk.report.before import Before
from desk.report.engine import Run


class Round(msgspec.Struct, kw_only=True):
    """What one round measured; None and why: what could not be measured."""

    before: Before | None = None
    paced: Run | None = None
    stamped: Run | None = None
    orders: Run | None = None
    flood: Run | None = None
    others: float = 0.0
    why: dict[str, str] = {}
