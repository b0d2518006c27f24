"""The exchange simulator: it sends the feed, takes the orders, matches them and judges the agent from outside."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.exchange.errors import ExchangeError, FeedError
    from agent.exchange.plan import Plan, schedule
    from agent.exchange.report import as_text
    from agent.exchange.simulator import run

__all__ = ["ExchangeError", "FeedError", "Plan", "as_text", "run", "schedule"]

#: The module of each public name: it is imported when the name is used, since a command that needs only a feed does not
#: wait for the simulator.
_MODULES = {
    "ExchangeError": "errors",
    "FeedError": "errors",
    "Plan": "plan",
    "as_text": "report",
    "run": "simulator",
    "schedule": "plan",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
