"""How a command of the agent ends: the base class of its errors, and its exit codes."""

from hosttune.errors import FAILED, INTERRUPTED, OK, USAGE, UsageError, is_interrupt, quiet_interrupts

__all__ = ["CONNECTION_LOST", "FAILED", "INTERRUPTED", "OK", "USAGE", "AgentError", "UsageError", "is_interrupt",
           "quiet_interrupts"]  # fmt: skip

#: The connection to the exchange was lost, which a supervisor may repair by starting the engine again: `agent run`.
CONNECTION_LOST = 4


class AgentError(UsageError):
    """The base class of all errors of the agent that are messages for the user: the message says what was found and
    what is allowed, or what the kernel said. A command prints the message and ends with exit code USAGE."""
