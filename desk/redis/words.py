"""What a server or redis-py says, as it may stand in a line."""

from hosttune.output import escape

#: Characters of a server's words that a message has at most.
_MOST_WORDS = 200


def explain(error: Exception, secret: str | None = None) -> str:
    """Returns what redis-py or the server said in one bounded line of printable characters, without the secret."""
    words = str(error) or type(error).__name__
    if secret:
        words = words.replace(secret, "(secret)")
    words = " ".join(words[: 2 * _MOST_WORDS].split())
    return escape(words if len(words) <= _MOST_WORDS else words[:_MOST_WORDS] + " ...")
