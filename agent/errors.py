"""What goes wrong for a reason that the user can act on: its message says what was found and what is allowed."""


class AgentError(Exception):
    """The base of all errors of the agent that are messages for the user; a command prints one and ends with FAILED."""


class UsageError(AgentError):
    """Arguments or configuration that cannot be meant; a command prints it and ends with USAGE."""


#: Exit codes of the command `agent`: it ran and all was well; it ran and something was wrong; arguments or
#: configuration; `run` alone: the connection to the exchange was lost, which starting again may repair.
OK, FAILED, USAGE, CONNECTION_LOST = 0, 1, 2, 4
