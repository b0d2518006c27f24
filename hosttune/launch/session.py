"""A program of another user, started from a terminal: in a session of its own, with no descriptor of the terminal.

With one it could put words into the shell's mouth (TIOCSTI), read what is typed, or send the terminal orders. So the
launcher stays, passes signals on, prints what the program prints, escaped, and ends as the program ends. Where there is
no terminal, as under systemd, nobody stays: the launcher becomes the program.
Sources: ioctl_tty(2), credentials(7), setsid(2).
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal

from hosttune.host.process import parse_stat
from hosttune.launch import _kernel
from hosttune.output import escape_lines

#: What the program gets when the launcher gets it.
RELAYED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
_PIECE = 1 << 16
# Pieces that are still read from a pipe when the program has ended: no pipe of a user holds more than 1 MiB.
_LAST_PIECES = 16


def has_terminal() -> bool:
    """Returns whether this process has a controlling terminal, or a terminal at one of the descriptors 0 to 2."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as stat:
        return parse_stat(stat.read()).terminal != 0 or any(map(os.isatty, range(3)))


def start_child() -> int | None:
    """Fork. The child returns None, as a session leader without a terminal, and goes on to launch the program. The
    launcher returns when the child has ended: its exit status, or 128 and the signal's number. Raises OSError.
    """
    pipes = {number: os.pipe() for number in (1, 2) if os.isatty(number)}
    signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)
    child = os.fork()
    if child == 0:
        _leave_terminal({number: writer for number, (_, writer) in pipes.items()})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RELAYED)
        return None
    handle = os.pidfd_open(child)
    for _, writer in pipes.values():
        os.close(writer)
    for number in RELAYED:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup(1) has SIGHUP
            signal.signal(number, lambda caught, _: _pass_on(handle, caught))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, RELAYED)
    _print_until_end(handle, {reader: number for number, (reader, _) in pipes.items()})
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def follow_launcher(launcher: int) -> None:
    """Have this process get SIGTERM when the launcher ends; a change of user takes that back. Raises OSError."""
    _kernel.set_parent_death_signal(signal.SIGTERM)
    if os.getppid() != launcher:
        raise ProcessLookupError("the launcher has ended")


def _leave_terminal(writers: dict[int, int]) -> None:
    os.setsid()
    if os.isatty(0):
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    for number, writer in writers.items():
        os.dup2(writer, number)


def _pass_on(handle: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _print_until_end(handle: int, readers: dict[int, int]) -> None:
    """Write what comes from each reader to its descriptor, as it may be printed, until the process behind the pidfd
    `handle` has ended and nothing is left of what it wrote."""
    decoders = {reader: codecs.getincrementaldecoder("utf-8")("surrogateescape") for reader in readers}
    poll = select.poll()
    for descriptor in (handle, *readers):
        poll.register(descriptor, select.POLLIN)
    ended, last = False, _LAST_PIECES
    while readers or not ended:
        # After the end without waiting: a process that the program left behind may keep a pipe open, and fill it.
        events = poll.poll(0 if ended else None)
        last -= ended
        if ended and (not events or not last):
            return
        for descriptor, _ in events:
            if descriptor == handle:
                ended = True
                poll.unregister(handle)
                continue
            piece = os.read(descriptor, _PIECE)
            text = decoders[descriptor].decode(piece, final=not piece)
            _write(readers[descriptor], escape_lines(text).encode())
            if not piece:
                poll.unregister(descriptor)
                os.close(descriptor)
                del readers[descriptor]


def _write(descriptor: int, data: bytes) -> None:
    """Write to a terminal; what one that has gone cannot take is lost, and no reason to stop the program."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]
