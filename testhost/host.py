"""One named guest: its directory, its life, and the ways in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from testhost import accel, requirements, ssh
from testhost import image as images
from testhost.cache import Cache, locked, read_json, write_json
from testhost.errors import TesthostError, UsageError, tail
from testhost.image import Image
from testhost.ports import free_port
from testhost.process import Process
from testhost.qmp import Qmp
from testhost.systems import System
from testhost.topology import Topology, snapshot_recipe

BOOT_TIMEOUT_S = 300.0
LAUNCH_TIMEOUT_S = 90.0
SAVE_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 12.0
LIVE = ("running", "panicked")  # Phases in which there is a QEMU.
READY = "_ready"  # Tag of the state after the first boot. Users' tags cannot begin with an underscore.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Progress = Callable[[str], None]


def silent(_line: str) -> None:
    """No progress."""


class Host:
    """A guest by its name in a cache. Nothing is kept in memory: any process may look at or end any host."""

    def __init__(self, cache: Cache, name: str) -> None:
        self.cache = cache
        self.name = name
        self.directory = cache.hosts / name

    # What is known.

    def config(self) -> dict[str, Any]:
        """What it was started with. Raises TesthostError if there is no such host."""
        config = read_json(self.directory / "config.json")
        if config is None:
            raise TesthostError(f"there is no host {self.name!r} (python -m testhost list)")
        return config

    def state(self) -> dict[str, Any]:
        """What its supervisor last wrote, with phase `dead` in place of `running` when the supervisor is gone."""
        state = read_json(self.directory / "state.json") or {"phase": "dead", "launch": 0, "kind": "cold"}
        if state["phase"] in LIVE and not self._alive("supervisor", state):
            return {**state, "phase": "dead", "reason": "its supervisor was killed"}
        return state

    @staticmethod
    def _alive(which: str, state: dict[str, Any]) -> bool:
        process = Process.from_json(state.get(which))
        return process is not None and process.alive()

    @property
    def port(self) -> int:
        return int(self.config()["port"])

    @property
    def access(self) -> ssh.Access:
        """How to reach it by its own keys."""
        return ssh.Access(self.port, self.directory / "id_ed25519", self.directory / "known_hosts")

    @property
    def _image_access(self) -> ssh.Access:
        """How to reach it before the first contact, by the keys that all guests of its image share."""
        config = self.config()
        key = self.cache.images / config["image"] / "build_key"
        return ssh.Access(config["port"], key, self.directory / "known_hosts.image")

    def serial(self) -> Path:
        """The log of its serial line, over all its boots."""
        return self.directory / "serial.log"

    # Starting.

    def start(
        self,
        topology: Topology,
        system: System,
        *,
        asked_accel: str = "auto",
        boot: str = "auto",
        open_network: bool = False,
        progress: Progress = silent,
    ) -> None:
        """Builds what is missing and starts the guest; `wait` tells when it can be used.

        boot: `fresh` boots the image; `snapshot` restores the state after a first boot with this topology, made now if
        need be; `auto` is `snapshot`, but boots when the state cannot be saved or restored. Raises UsageError before
        anything is started; on any other error and on a signal nothing is left running.
        """
        if not NAME.fullmatch(self.name):
            raise UsageError(f"host name {self.name!r}: lower-case letters, digits and hyphens, at most 63")
        requirements.require(requirements.RUN)
        image = images.build(self.cache, progress, system)
        self.cache.make()
        kind = accel.choose(self.cache, image, asked_accel, progress)
        if boot != "fresh":
            try:
                saved = ready_state(self.cache, image, topology, kind, open_network, progress)
                self._start(image, topology, kind, open_network, saved)
                return
            except TesthostError as error:
                if boot == "snapshot" or isinstance(error, UsageError):
                    raise
                progress(f"no saved state, so {self.name} boots: {error}")
        self._start(image, topology, kind, open_network, None)

    def _start(self, image: Image, topology: Topology, kind: str, open_network: bool, saved: Path | None) -> None:
        with locked(self.cache.hosts / f".{self.name}.lock", 60, f"another command on host {self.name}"):
            if self.directory.exists():
                if self.state()["phase"] in LIVE:
                    raise UsageError(f"host {self.name!r} already runs (python -m testhost stop {self.name})")
                self._remove()
            self.directory.mkdir(mode=0o700)
            try:
                self._prepare(image, topology, kind, open_network, saved)
                self._spawn()
            except BaseException:
                self._end()  # a signal may come when _spawn() has returned
                self._remove()
                raise

    def _prepare(self, image: Image, topology: Topology, kind: str, open_network: bool, saved: Path | None) -> None:
        disk = self.directory / "disk.qcow2"
        # The backing file's name is relative to the disk, and hosts and snapshots are equally deep.
        if saved is not None:
            _tool(["cp", "--reflink=auto", "--sparse=always", str(saved), str(disk)])
        else:
            backing = f"../../images/{image.key}/disk.img"
            _tool(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", "raw", str(disk)])
        port = free_port()
        ssh.generate_key(self.directory / "id_ed25519", f"testhost {self.name}")
        host_key = ssh.generate_key(self.directory / "host_key", f"testhost {self.name}")
        (self.directory / "known_hosts").write_text(ssh.known_hosts_line(port, host_key), encoding="ascii")
        (self.directory / "known_hosts.image").write_text(ssh.known_hosts_line(port, image.host_key), encoding="ascii")
        write_json(
            self.directory / "config.json",
            {
                "name": self.name,
                "image": image.key,
                "topology": topology.to_json(),
                "accel": kind,
                "open": open_network,
                "port": port,
                "grub": f"../../images/{image.key}/grub.lnx",
                "loadvm": None if saved is None else READY,
            },
        )

    def _spawn(self) -> None:
        """Starts the supervisor and waits until QEMU runs. On an error or a signal both are gone afterwards."""
        checkout = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
        # A signal must not come between the fork and our knowing the child.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        child = None
        try:
            with (self.directory / "supervisor.log").open("wb") as out:
                child = subprocess.Popen(
                    [sys.executable, "-m", "testhost.supervisor", str(self.directory)],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/",
                    env={**os.environ, "PYTHONPATH": path},
                )  # fmt: skip
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            deadline = time.monotonic() + LAUNCH_TIMEOUT_S
            while time.monotonic() < deadline:
                state = read_json(self.directory / "state.json")
                if state is not None and state["phase"] == "running":
                    return
                if state is not None:
                    raise TesthostError(f"QEMU did not start: {state['reason']}")
                if child.poll() is not None:
                    raise TesthostError(f"the supervisor did not start\n{tail(self.directory / 'supervisor.log')}")
                time.sleep(0.05)
            raise TesthostError(f"QEMU did not start within {LAUNCH_TIMEOUT_S:.0f} s")
        except BaseException:
            if child is not None:
                child.terminate()
                try:
                    child.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # Waiting.

    def wait(self, timeout: float = BOOT_TIMEOUT_S) -> None:
        """Returns when ssh answers with the host's own keys and the clock is right. The first caller after a start or
        a restore makes it so. Raises TesthostError with the end of the serial log."""
        self.config()
        deadline = time.monotonic() + timeout
        with locked(self.directory / ".settle.lock", timeout, f"host {self.name} to be set up by another command"):
            self._wait(deadline, timeout, self._contact)

    def _wait(self, deadline: float, timeout: float, contact: Callable[[dict[str, Any], float], None]) -> None:
        last = "nothing tried"
        next_blind_try = time.monotonic() + 30
        while True:
            state = self.state()
            if state["phase"] != "running":
                raise self._gone(state)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TesthostError(
                    f"host {self.name} did not answer within {timeout:.0f} s (last: {last})\n{tail(self.serial())}"
                )
            # A booting guest is left alone until its login prompt; a restored one prints none.
            if state["kind"] != "restored" and " login:" not in self._serial_since(state):
                if time.monotonic() < next_blind_try:
                    time.sleep(0.2)
                    continue
                next_blind_try = time.monotonic() + 30
            try:
                contact(state, min(left, 40))
                return
            except TesthostError as error:
                last = str(error)
                time.sleep(0.3)

    def _gone(self, state: dict[str, Any]) -> TesthostError:
        reason = state.get("reason")
        if state["phase"] == "panicked":
            # The line that says why is far above the end of the trace.
            said = re.findall(r"Kernel panic.*", self._serial_since(state))
            reason = said[0].strip() if said else reason
        return TesthostError(f"host {self.name} is {state['phase']}: {reason}\n{tail(self.serial())}")

    def _serial_since(self, state: dict[str, Any]) -> str:
        """What came over the serial line since QEMU was last started."""
        try:
            with self.serial().open("rb") as file:
                file.seek(state["serial_from"])
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _contact(self, state: dict[str, Any], timeout: float) -> None:
        mark = self.directory / "settled.json"
        settled = read_json(mark)
        if settled is None:
            public_key = (self.directory / "id_ed25519.pub").read_text(encoding="ascii").strip()
            host_key = (self.directory / "host_key").read_bytes()
            try:
                ssh.settle(self._image_access, timeout, (self.name, public_key, host_key))
            except TesthostError:
                # An earlier contact may have done its work without our hearing of it: then its own keys fit.
                self._probe(timeout)
            write_json(mark, {"launch": state["launch"]})
        elif state["kind"] == "restored" and settled["launch"] != state["launch"]:
            ssh.settle(self.access, timeout, None)
            write_json(mark, {"launch": state["launch"]})
        self._probe(timeout)

    def _probe(self, timeout: float) -> None:
        done = self.run(["true"], timeout=timeout)
        if done.returncode != 0:
            raise TesthostError(f"ssh: {done.stderr.strip() or f'status {done.returncode}'}")

    def _wait_booted(self, timeout: float) -> None:
        """Waits until systemd has started everything; any failed unit is an error, since the image is wrong then."""

        def contact(_state: dict[str, Any], left: float) -> None:
            argv = self._image_access.argv("root", ["systemctl", "is-system-running", "--wait"], connect_timeout=left)
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=left, check=False
                )
            except subprocess.TimeoutExpired:
                raise TesthostError("systemd is still starting") from None
            if done.returncode != 0:
                raise TesthostError(f"systemd says {done.stdout.strip() or done.stderr.strip()!r}")

        self._wait(time.monotonic() + timeout, timeout, contact)

    # Using.

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        timeout: float = 60.0,
        check: bool = False,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the guest: a list of words as they are, or a string for the guest's shell.

        Raises TesthostError after `timeout` seconds, and with `check` when it fails. Status 255 is ssh's own.
        """
        words = ["sh", "-c", command] if isinstance(command, str) else command
        argv = self.access.argv(user, words, connect_timeout=min(timeout, 20))
        shown = command if isinstance(command, str) else shlex.join(command)
        try:
            done = subprocess.run(
                argv, input=input, stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True, text=True, timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TesthostError(f"host {self.name}: not over within {timeout:.0f} s: {shown}") from None
        if check and done.returncode != 0:
            raise TesthostError(f"host {self.name}: status {done.returncode}: {shown}\n{done.stdout}{done.stderr}")
        return done

    def reboot(self, timeout: float = BOOT_TIMEOUT_S) -> None:
        """Reboots the guest from inside and waits until it is back, in a new QEMU process."""
        launch = self.state()["launch"]
        command = ["systemctl", "--no-block", "reboot"]
        done = self.run(command, timeout=30)
        if done.returncode not in (0, 255):  # 255: the guest was down before ssh had its answer
            raise TesthostError(f"host {self.name}: status {done.returncode}: {shlex.join(command)}\n{done.stderr}")
        self._wait_for_launch(launch, timeout)
        self.wait(timeout)

    def _wait_for_launch(self, before: int, timeout: float, meanwhile: Sequence[str] = ("running",)) -> None:
        deadline = time.monotonic() + timeout
        while (state := self.state())["launch"] == before:
            if state["phase"] not in meanwhile:
                raise self._gone(state)
            if time.monotonic() > deadline:
                raise TesthostError(f"host {self.name} did not go down within {timeout:.0f} s\n{tail(self.serial())}")
            time.sleep(0.1)

    def _qmp(self) -> Qmp:
        if (phase := self.state()["phase"]) not in LIVE:
            raise TesthostError(f"host {self.name} is {phase}")
        return Qmp.connect(self.directory / "control.sock", 10)

    def tags(self) -> list[str]:
        """Saved states of this host, oldest first."""
        with self._qmp() as qmp:
            return [tag for tag in qmp.snapshots() if tag != READY]

    def save(self, tag: str) -> None:
        """Saves the whole machine state under a tag; an older one of the same tag is replaced."""
        if not TAG.fullmatch(tag):
            raise UsageError(f"tag {tag!r}: letters, digits, `_`, `.`, `-`; the first a letter or digit")
        self._save(tag)

    def _save(self, tag: str) -> None:
        with self._qmp() as qmp:
            said = qmp.monitor(f"savevm {tag}", SAVE_TIMEOUT_S).strip()
        if said:
            raise TesthostError(f"host {self.name}: QEMU cannot save its state: {said}")

    def restore(self, tag: str, timeout: float = BOOT_TIMEOUT_S) -> None:
        """Goes back to a saved state in a new QEMU process, sets the clock, and waits until it can be used."""
        tags = self.tags()
        if tag not in tags:
            raise UsageError(f"host {self.name} has no saved state {tag!r}; it has: {', '.join(tags) or 'none'}")
        state = self.state()
        write_json(self.directory / "restore.json", {"tag": tag})
        supervisor = Process.from_json(state["supervisor"])
        if supervisor is None:
            raise TesthostError(f"host {self.name} is dead")
        supervisor.end(signal.SIGUSR1, 0)
        self._wait_for_launch(state["launch"], LAUNCH_TIMEOUT_S, LIVE)
        self.wait(timeout)

    # Ending.

    def stop(self) -> bool:
        """Ends it and removes its directory; its serial log stays in the cache's logs. False if there was no such host.

        Only processes whose pid, start time and boot are those recorded get a signal.
        """
        if not self.directory.exists():
            return False
        with locked(self.cache.hosts / f".{self.name}.lock", 60, f"another command on host {self.name}"):
            self._end()
            self._remove()
        return True

    def _end(self) -> None:
        state = read_json(self.directory / "state.json") or {}
        supervisor, qemu = Process.from_json(state.get("supervisor")), Process.from_json(state.get("qemu"))
        if supervisor is not None and not supervisor.end(signal.SIGTERM, STOP_TIMEOUT_S):
            supervisor.end(signal.SIGKILL, 5)
        # The supervisor ends QEMU, or the kernel does when the supervisor was killed.
        if qemu is not None and not qemu.end(0, 2) and not qemu.end(signal.SIGKILL, 5):
            raise TesthostError(f"host {self.name}: QEMU (pid {qemu.pid}) does not end")

    def _remove(self) -> None:
        serial = self.serial()
        if serial.exists():
            self.cache.logs.mkdir(mode=0o700, exist_ok=True)
            shutil.move(serial, self.cache.logs / f"{self.name}-serial.log")
        shutil.rmtree(self.directory, ignore_errors=True)


def _tool(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise TesthostError(f"{shlex.join(argv)}: {done.stderr.strip()}")


def ready_state(
    cache: Cache, image: Image, topology: Topology, kind: str, open_network: bool, progress: Progress
) -> Path:
    """The disk that holds the state after a first boot with this topology; boots a guest to make it if need be."""
    parts = [image.key, (image.directory / "image.json").read_text(encoding="utf-8"), accel.qemu_version(),
             list(snapshot_recipe(topology, accel=kind, open_network=open_network))]  # fmt: skip
    key = images.recipe_key(parts)
    directory = cache.snapshots / key
    ready = directory / "ready.qcow2"
    if ready.exists():
        return ready
    with locked(cache.snapshots / f".{key}.lock", 2 * BOOT_TIMEOUT_S, "another first boot with this topology"):
        if ready.exists():
            return ready
        hardware = f"{topology.cpus} CPUs, {topology.numa} nodes, {topology.memory} MiB, {topology.nic}, {kind}"
        progress(f"first boot with this topology ({hardware}); later ones take seconds")
        started = time.monotonic()
        template = Host(cache, f".template-{key}")
        try:
            template._start(image, topology, kind, open_network, None)
            template._wait_booted(BOOT_TIMEOUT_S)
            booted = time.monotonic() - started
            template._save(READY)
            template._end()
            directory.mkdir(mode=0o700, exist_ok=True)
            (template.directory / "disk.qcow2").replace(ready)
            write_json(directory / "snapshot.json", {"image": image.key, "topology": topology.to_json(), "accel": kind,
                                                     "boot_seconds": round(booted, 1)})  # fmt: skip
        finally:
            template.stop()
        progress(f"booted and saved after {time.monotonic() - started:.0f} s")
    return ready
