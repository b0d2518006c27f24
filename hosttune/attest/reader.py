"""The process behind `hosttune launch --attest`: it reads the program back, and ends it if the launch does not hold."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from typing import NoReturn

from hosttune.attest.read import Gone
from hosttune.attest.wait import NotLaunched, attest
from hosttune.errors import BY_VERDICT, FAILED
from hosttune.output import escape, print_message
from hosttune.report import formats
from hosttune.report.document import Page

#: Seconds for others to take what the reader prints, before it ends the program (a launcher that stays ends with the
#: program, and prints no more), and before it ends itself.
_FIRST, _PRINTING_ENDS = 0.5, 5.0


def fork_reader(run_directory: str, wait: float) -> None:
    """Start the process that attests this one after exec, and ends it if that does not hold.

    Forked twice, so that it is not a child that the program did not start; before this process is placed
    and holds a lease, so that it neither runs on the leased CPUs nor keeps the lease.
    """
    target = os.getpid()
    handle = os.pidfd_open(target)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            read_back(target, handle, run_directory, wait)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(handle)


def read_back(target: int, handle: int, run_directory: str, wait: float) -> NoReturn:
    """Attest the process behind the pidfd `handle`, end it if the launch does not hold, and exit."""
    code = FAILED
    try:
        os.setsid()  # a signal to the terminal's foreground group is not for the reader
        try:
            result = attest(run_directory, target, wait)
            code, text = BY_VERDICT[result.report.verdict], formats.write("text", result, Page()).rstrip("\n")
        except Gone:
            # A launcher that failed after the fork has said why; the preload library too.
            os._exit(code)
        except NotLaunched as error:
            text = escape(str(error))
        if code:
            text += f"\nhosttune launch: attest does not hold, ending process {target}"
    except BaseException as error:
        code, text = FAILED, f"hosttune launch: attest failed, ending process {target}: {escape(repr(error))}"
    try:
        # The program shares the pipe, and may have filled it: its end does not wait for that of the printing.
        printing = threading.Thread(target=print_message, args=(text,), daemon=True)
        printing.start()
        printing.join(_FIRST if code else _PRINTING_ENDS)
        if code:
            stop(handle)
            printing.join(_PRINTING_ENDS)
    finally:
        os._exit(code)


def stop(handle: int, patience: float = 2.0) -> None:
    """End the process behind a pidfd: SIGTERM, and SIGKILL if it has not ended after `patience` seconds."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], patience)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
