"""Exit statuses of every command, and the error that ends one. Imports nothing of hosttune."""

from __future__ import annotations

OK, FAILED, USAGE, UNKNOWN = 0, 1, 2, 3

#: Exit status by the verdict of a report (:data:`hosttune.findings.Verdict`).
BY_VERDICT = {"ready": OK, "not ready": FAILED, "unknown": UNKNOWN}

#: How a command ends that the user interrupted (SIGINT), as a shell reports it.
INTERRUPTED = 130


class UsageError(Exception):
    """What the caller gave cannot be used; the text says what was found and why it does not do. Exit status 2."""
