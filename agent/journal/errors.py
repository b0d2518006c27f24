"""What is wrong with a journal."""

from agent.errors import AgentError


class JournalError(AgentError):
    """The journal cannot be used; the message names the file, what was found and what is allowed."""
