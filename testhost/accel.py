"""KVM or software emulation. An open /dev/kvm proves nothing: on some machines nested guests hang, so a guest kernel
must really have booted before KVM is used."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from testhost.cache import Cache, locked, read_json, write_json
from testhost.errors import UsageError
from testhost.image import Image
from testhost.process import boot_id

PROBE_S = 20.0
# The kernel prints this when drivers are up and it hands over to user space.
_BOOTED = b"Run /init as init process"


def qemu_version() -> str:
    """First line of `qemu-system-x86_64 --version`; part of what caches depend on."""
    done = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines()[0]


def probe_args(image: Image, serial: str) -> list[str]:
    """QEMU arguments that boot the image's own kernel under KVM, without a disk, until it starts its initramfs."""
    return [
        "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "kvm", "-cpu", "host",
        "-smp", "2", "-m", "512", "-no-reboot", "-serial", f"file:{serial}",
        "-kernel", str(image.directory / "vmlinuz"), "-initrd", str(image.directory / "initrd.img"),
        "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip


def probe(image: Image, seconds: float = PROBE_S) -> str:
    """Why KVM cannot be used, or an empty string when a guest kernel booted with it within `seconds`."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is not readable and writable for this user (group kvm?)"
    with tempfile.TemporaryDirectory() as name:
        serial, log = Path(name) / "serial", Path(name) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *probe_args(image, str(serial))],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if serial.exists() and _BOOTED in serial.read_bytes():
                    return ""
                if process.poll() is not None:
                    return f"QEMU ended with {process.returncode}: {log.read_text(errors='replace').strip()}"
                time.sleep(0.1)
            written = serial.stat().st_size if serial.exists() else 0
            return f"a guest kernel did not boot within {seconds:.0f} s ({written} bytes on its serial line)"
        finally:
            process.kill()
            process.wait()


def choose(cache: Cache, image: Image, asked: str, progress: Callable[[str], None]) -> str:
    """`kvm` or `tcg` for what was asked (auto, kvm, tcg). The probe's result holds for this boot and QEMU version.

    Raises UsageError when kvm was asked for and does not work, with the reason.
    """
    if asked == "tcg":
        return "tcg"
    file = cache.root / "kvm-probe.json"
    now = {"boot": boot_id(), "qemu": qemu_version(), "uid": os.geteuid()}
    with locked(cache.root / ".kvm-probe.lock", 4 * PROBE_S, "another probe of KVM"):
        known = read_json(file)
        if known is None or {key: known.get(key) for key in now} != now:
            known = {**now, "refused": probe(image)}
            write_json(file, known)
            if known["refused"]:
                progress(f"no KVM here ({known['refused'].splitlines()[0]}): software emulation it is")
    if not known["refused"]:
        return "kvm"
    if asked == "kvm":
        raise UsageError(f"--accel kvm: {known['refused']}")
    return "tcg"
