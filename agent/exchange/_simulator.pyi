"""The referee's loop: it sends the feed, takes the orders, matches them and stamps both."""

from typing import Any

from agent.exchange.plan import PreparedPlan

#: How a run can end: "ended" of its counts.
ENDS: tuple[str, ...]

def run(plan: PreparedPlan) -> dict[str, Any]: ...
