"""How a command ends: exit statuses, the error that ends one, the user's interrupt. Imports nothing of hosttune."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

OK, FAILED, USAGE, UNKNOWN = 0, 1, 2, 3

#: Exit status by the verdict of a report (:data:`hosttune.findings.Verdict`).
BY_VERDICT = {"ready": OK, "not ready": FAILED, "unknown": UNKNOWN}

#: How a command ends that the user interrupted (SIGINT), as a shell reports it.
INTERRUPTED = 130


class UsageError(Exception):
    """What the caller gave cannot be used; the text says what was found and why it does not do. Exit status 2."""


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is what the user's interrupt became: Python makes a RuntimeError of one in a class body."""
    return isinstance(error.__cause__, KeyboardInterrupt)


def _end_at_once(number: int, frame: Any) -> None:
    os._exit(INTERRUPTED)


def _change_interrupt(handler: Any) -> bool:
    """Set what SIGINT does. A caller's own handler stays, and so does every one where this is another thread than the
    first. Returns whether it is set."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, handler)
            return True
    return False


def leave_interrupts_to_kernel() -> None:
    """Let SIGINT end the process as the kernel does, from here on: for the interpreter's own end, in which handlers
    of Python fail."""
    _change_interrupt(signal.SIG_DFL)


def _send_again() -> None:
    time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def _take_unraisable(unraisable: Any) -> None:
    if unraisable.exc_type is not None and issubclass(unraisable.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_send_again, ())
    else:
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def keep_interrupts() -> Iterator[None]:
    """Let no SIGINT be lost: where Python can raise nothing (finalizers, callbacks of weak references), it prints a
    KeyboardInterrupt and forgets it. It comes again, a moment later."""
    before, sys.unraisablehook = sys.unraisablehook, _take_unraisable
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Let SIGINT end the process at once, with INTERRUPTED and without a word, while there is nothing to clean up:
    imports and compilations, which a KeyboardInterrupt would leave through others' code that tells of it, or forgets
    it."""
    changed = _change_interrupt(_end_at_once)
    try:
        yield
    finally:
        if changed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
