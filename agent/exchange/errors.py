"""What the simulator and its feeds raise."""

from agent.errors import AgentError


class ExchangeError(AgentError):
    """The simulator cannot run; the message says what is in the way."""


class FeedError(AgentError):
    """A recording cannot be read, or a feed not be made; the message names file and line."""
