"""Why an engine cannot start."""

from agent.errors import AgentError


class RunError(AgentError):
    """The engine cannot start; the message says what is in the way."""
