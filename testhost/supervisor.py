"""One process per host that owns its QEMU: starts it, restarts it when the guest resets, and says how it is.

Started as `python -m testhost.supervisor DIRECTORY`; reads config.json there, writes state.json, holds `alive.lock`.
SIGTERM ends QEMU and itself; SIGUSR1 makes it start again from the machine state that restore.json names.
If it is killed, the kernel kills QEMU with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from testhost.cache import read_json, write_json
from testhost.errors import TesthostError
from testhost.process import Process
from testhost.qmp import Qmp
from testhost.topology import Topology, qemu_args

# A guest that resets this often within this time has a boot problem; going on would hide it.
RESETS, RESETS_WITHIN_S = 4, 20.0
PORT_RETRY_S = 10.0


class Supervisor:
    """The state machine of one host. Phases: running, panicked, off (the guest powered off), failed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        config = read_json(directory / "config.json")
        if config is None:
            raise TesthostError(f"{directory}/config.json cannot be read")
        self.config = config
        self.process: subprocess.Popen[bytes] | None = None
        self.launches = 0
        self.serial_from = 0
        self.kind = "cold"
        self.resets: list[float] = []
        self.ending = False
        self.restore = False

    def ended(self) -> bool:
        """Whether a signal has asked for the end; read anew each time."""
        return self.ending

    def write(self, phase: str, reason: str = "", serial_from: int | None = None) -> None:
        qemu = None if self.process is None else Process.of(self.process.pid)
        me = Process.of(os.getpid())
        if serial_from is not None:
            self.serial_from = serial_from
        state: dict[str, Any] = {
            "phase": phase,
            "reason": reason,
            "launch": self.launches,
            "kind": self.kind,
            "serial_from": self.serial_from,
            "supervisor": None if me is None else me.to_json(),
            "qemu": None if qemu is None else qemu.to_json(),
        }
        write_json(self.directory / "state.json", state)

    def launch(self, loadvm: str | None, kind: str) -> Qmp:
        """Starts QEMU and waits until it answers. Raises TesthostError with QEMU's own words."""
        serial = self.directory / "serial.log"
        serial_from = serial.stat().st_size if serial.exists() else 0
        self.launches += 1
        self.kind = kind
        deadline = time.monotonic() + PORT_RETRY_S
        while True:
            ours, theirs = socket.socketpair()
            os.set_inheritable(theirs.fileno(), True)
            args = qemu_args(
                Topology(**self.config["topology"]),
                accel=self.config["accel"],
                grub=self.config["grub"],
                port=self.config["port"],
                open_network=self.config["open"],
                qmp_fd=theirs.fileno(),
                loadvm=loadvm,
            )
            log = self.directory / "qemu.log"
            with log.open("wb") as out:
                self.process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *args],
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    pass_fds=[theirs.fileno()],
                )
            theirs.close()
            qmp = Qmp(ours)
            try:
                qmp.negotiate(60.0)
            except TesthostError as error:
                self.process.kill()
                self.process.wait()
                said = log.read_text(encoding="utf-8", errors="replace").strip()
                # A reboot needs the same port again; whoever took it may be short-lived.
                if "host forwarding rule" in said and time.monotonic() < deadline and not self.ending:
                    time.sleep(0.5)
                    continue
                raise TesthostError(said or str(error)) from error
            self.write("running", serial_from=serial_from)
            return qmp

    def run(self) -> int:
        loadvm = self.config.get("loadvm")
        kind = "cold" if loadvm is None else "restored"
        while not self.ended():
            try:
                qmp = self.launch(loadvm, kind)
                reason = self.watch(qmp)
            except TesthostError as error:
                self.end_qemu(None)
                self.write("failed", str(error))
                return 1
            if self.ended():
                break
            if self.restore:
                self.restore = False
                wanted = read_json(self.directory / "restore.json") or {}
                loadvm, kind = wanted.get("tag"), "restored"
            elif reason == "guest-reset":
                loadvm, kind = None, "reboot"
                now = time.monotonic()
                self.resets = [t for t in self.resets if now - t < RESETS_WITHIN_S] + [now]
                if len(self.resets) >= RESETS:
                    self.write("failed", f"the guest reset itself {RESETS} times within {RESETS_WITHIN_S:.0f} s")
                    return 1
            elif reason == "guest-shutdown":
                self.write("off", "the guest powered itself off")
                return 0
            else:
                self.write("failed", f"QEMU ended: {reason}")
                return 1
        self.write("off", "stopped")
        return 0

    def watch(self, qmp: Qmp) -> str:
        """Follows events until QEMU is gone. Returns why the guest stopped, in QEMU's words (ShutdownCause)."""
        assert self.process is not None
        cause = ""
        with qmp:
            while not qmp.closed:
                if self.ending or self.restore:
                    self.end_qemu(qmp)
                    return "stopped"
                event = qmp.event(0.25)
                if event is None:
                    continue
                if event["event"] == "SHUTDOWN":
                    cause = event["data"].get("reason", "")
                elif event["event"] == "GUEST_PANICKED":
                    self.write("panicked", "the guest's kernel panicked")
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        said = (self.directory / "qemu.log").read_text(encoding="utf-8", errors="replace").strip()
        return cause or f"status {status}" + (f", {said[-500:]}" if said else "")

    def end_qemu(self, qmp: Qmp | None) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        try:
            if qmp is not None:
                qmp.command("quit", timeout=3.0)
                self.process.wait(5)
                return
        except (TesthostError, subprocess.TimeoutExpired):
            pass
        self.process.kill()
        self.process.wait()


def main(directory: Path) -> int:
    """Runs until the guest is off. The exit status is only for the log; state.json is what others read."""
    os.umask(0o077)
    # Whoever starts us blocks these for the moment in which we exist but are not yet known.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with (directory / "alive.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        supervisor = Supervisor(directory)

        def end(_number: int, _frame: FrameType | None) -> None:
            supervisor.ending = True

        def restore(_number: int, _frame: FrameType | None) -> None:
            supervisor.restore = True

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, restore)
        return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
