"""What librdkafka says, as lines that do not come again and again: a broker that is away is a hundred a second."""

import re
import time

from hosttune.output import escape, print_message

#: Seconds within which a line is not printed again, and lines that are remembered.
_AGAIN, _MOST_LINES = 60.0, 64
_AFTER = re.compile(r" ?\(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")


def find_kind(text: str) -> str:
    """Returns a line without what is another each time: how long an attempt took, how often it was made, each number
    that is no part of an address."""
    words = _AFTER.sub("", text).split()
    return " ".join(word if ":" in word else re.sub(r"\d+", "", word) for word in words)


class Lines:
    """Prints lines with what they begin with: those of one kind once a minute."""

    def __init__(self, begin: str) -> None:
        self._begin = begin
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, text: str) -> None:
        """Print a line, with how often one of its kind was said since one was printed last."""
        kind, now = find_kind(text), time.monotonic()
        printed, times = self._said.get(kind, (-_AGAIN, 0))
        if now - printed < _AGAIN:
            self._said[kind] = printed, times + 1
            return
        if len(self._said) >= _MOST_LINES:
            self._said.clear()
        self._said[kind] = now, 0
        print_message(escape(f"{self._begin}: {text}") + (f" ({times} times more since)" if times else ""))
