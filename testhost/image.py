"""Builds the guest's disk image from Debian packages: no loop device, and no root where user namespaces are allowed.

mmdebstrap unpacks and configures the packages into a tar file, mke2fs fills a file system from it at its place inside a
GPT disk file, and GRUB's Linux-style image (lnxboot.img + core.img, started by `qemu -kernel`) reads the guest's own
/boot/grub/grub.cfg. So the guest boots through its real boot menu without firmware variables or an EFI partition.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testhost import requirements
from testhost.aptsources import KEYRING, debian_sources
from testhost.cache import Cache, locked, write_json
from testhost.errors import TesthostError, UsageError, tail
from testhost.output import print_message
from testhost.systems import System

PACKAGES = (
    "systemd-sysv", "libpam-systemd", "dbus", "udev", "kmod", "openssh-server", "sudo",
    "python3", "python3-apt", "procps", "psmisc", "netbase", "iproute2", "ethtool", "irqbalance", "numactl",
    "initramfs-tools", "lz4", "grub2-common", "e2fsprogs", "util-linux-extra",
)  # fmt: skip
GRUB_MODULES = [
    "biosdisk", "part_gpt", "part_msdos", "ext2", "search", "search_fs_uuid", "normal", "configfile", "linux", "boot",
    "all_video", "echo", "test", "serial", "terminal", "gzio", "minicmd", "sleep", "reboot", "halt", "loadenv", "ls",
    "cat", "probe",
]  # fmt: skip
# Documentation and translations are not looked at in a test guest.
PATH_EXCLUDE = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")
DISK_MIB = 6144
PARTITION_SECTOR = 2048
SECTOR = 512
# The last 1 MiB is for the second partition table.
PARTITION_KIB = DISK_MIB * 1024 - 2 * PARTITION_SECTOR * SECTOR // 1024
# Settings of the machine's own apt that it needs to reach its mirror; the guest does not keep them.
APT_SETTINGS = (
    "Acquire::http",
    "Acquire::https",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Retries",
)
STEP_TIMEOUT_S = 900.0
GUEST = Path(__file__).resolve().parent / "guest"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """A built image. `host_key` is the public ssh host key that every guest shows before it gets its own."""

    key: str
    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def grub(self) -> Path:
        return self.directory / "grub.lnx"

    @property
    def build_key(self) -> Path:
        return self.directory / "build_key"

    @property
    def host_key(self) -> str:
        return (self.directory / "host_key.pub").read_text(encoding="ascii").strip()


def recipe_key(recipe: object) -> str:
    """Short hash of everything that an image depends on; the same on every machine for the same recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def packages_of(system: System) -> tuple[str, ...]:
    """The packages that are asked for by name."""
    return (*PACKAGES, system.kernel_package)


def recipe(system: System) -> dict[str, object]:
    """What the image depends on: packages, scripts, boot loader modules, size."""
    return {
        "suite": system.release,
        "packages": packages_of(system),
        "scripts": {file.name: file.read_text(encoding="utf-8") for file in sorted(GUEST.glob("*.sh"))},
        "grub": GRUB_MODULES,
        "exclude": PATH_EXCLUDE,
        "disk": [DISK_MIB, PARTITION_SECTOR],
    }


def find(cache: Cache, system: System) -> Image | None:
    """The image of the present recipe, if it is in the cache."""
    key = recipe_key(recipe(system))
    directory = cache.images / key
    return Image(key, directory) if (directory / "image.json").is_file() else None


def _run(argv: Sequence[str], log: Path, timeout: float = STEP_TIMEOUT_S, env: dict[str, str] | None = None) -> None:
    """Runs one build step with its output in the log; kills its whole group on timeout or on a signal to us."""
    with log.open("ab") as out:
        out.write(f"+ {shlex.join(argv)}\n".encode())
        out.flush()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=env
        )
        try:
            status = process.wait(timeout)
        except BaseException as error:
            # SIGTERM first: mmdebstrap then unmounts and removes its directory.
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(20)
                    break
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
            if isinstance(error, subprocess.TimeoutExpired):
                raise TesthostError(f"{argv[0]} took more than {timeout:.0f} s\n{tail(log)}") from None
            raise
    if status != 0:
        raise TesthostError(f"{argv[0]} failed with status {status}\n{tail(log)}")


def apt_settings() -> list[str]:
    """The machine's own apt settings that its mirror may need (proxy, a frozen archive's dates), as `NAME "VALUE"`."""
    config = requirements.program("apt-config")
    if config is None:
        return []
    text = subprocess.run(
        [config, "dump", *APT_SETTINGS], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    # `dump` also prints the empty parents of a setting.
    return [line for line in text.splitlines() if not line.endswith('"";')]


def mmdebstrap_argv(
    *, system: System, root: bool, sources: Sequence[str], settings: Sequence[str], target: Path, root_uuid: str,
    public_key: str, host_key: Path,
) -> list[str]:  # fmt: skip
    """The mmdebstrap command; `target` is the tar file. As root it works directly, else in a user namespace."""
    assigned = f"ROOT_UUID={shlex.quote(root_uuid)}\nBUILD_KEY={shlex.quote(public_key)}\n"
    return [
        "mmdebstrap",
        "--mode=root" if root else "--mode=unshare",
        "--variant=minbase",
        "--format=tar",
        "--architectures=amd64",
        "--include=" + ",".join(packages_of(system)),
        *(f"--aptopt={setting.rstrip(';')}" for setting in settings),
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in PATH_EXCLUDE),
        "--essential-hook=" + assigned + (GUEST / "initramfs.sh").read_text(encoding="utf-8"),
        "--customize-hook=" + assigned + (GUEST / "customize.sh").read_text(encoding="utf-8"),
        f"--customize-hook=upload {host_key} /etc/ssh/ssh_host_ed25519_key",
        '--customize-hook=chown 0:0 "$1/etc/ssh/ssh_host_ed25519_key"; chmod 0600 "$1/etc/ssh/ssh_host_ed25519_key"',
        system.release,
        str(target),
        *sources,
    ]


def explain_key(error: TesthostError, system: System) -> TesthostError:
    """Returns the error, with what to do added when apt does not know the key that signed the release."""
    if "NO_PUBKEY" not in str(error):
        return error
    return TesthostError(
        f"{error}\n{KEYRING} of this machine does not have the key of {system.release}: "
        "apt install --only-upgrade debian-archive-keyring"
    )


def filesystem_script(tar: Path, tree: Path, disk: Path, root_uuid: str) -> str:
    """Shell text that fills the partition; it runs under fakeroot when we are not root, so that owners stay right."""
    mke2fs = requirements.program("mke2fs") or "mke2fs"
    q = shlex.quote
    return "\n".join([
        "set -eu",
        f"mkdir {q(str(tree))}",
        f"tar -C {q(str(tree))} --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' -xf {q(str(tar))}",
        f"cp {q(str(tree))}/boot/vmlinuz-* {q(str(disk.parent / 'vmlinuz'))}",
        f"cp {q(str(tree))}/boot/initrd.img-* {q(str(disk.parent / 'initrd.img'))}",
        f"cp {q(str(tree))}/boot/config-* {q(str(disk.parent / 'kernel-config'))}",
        f"cp {q(str(tree))}/var/lib/dpkg/status {q(str(disk.parent / 'dpkg-status'))}",
        f"{q(mke2fs)} -q -F -t ext4 -L root -U {root_uuid} -d {q(str(tree))}"
        f" -E offset={PARTITION_SECTOR * SECTOR},lazy_itable_init=1,lazy_journal_init=1"
        f" {q(str(disk))} {PARTITION_KIB}k",
    ])  # fmt: skip


def build(
    cache: Cache, progress: Progress, system: System, *, rebuild: bool = False, mirror: str | None = None
) -> Image:
    """Returns the image of the present recipe, from the cache if it is there; one build at a time per cache.

    Raises UsageError before doing anything when a program is missing, TesthostError with the end of the log otherwise.
    """
    present = find(cache, system)
    if present is not None and not rebuild:
        return present
    root = os.geteuid() == 0
    if platform.machine() != "x86_64":
        raise UsageError(f"the guest is amd64, this machine is {platform.machine()}")
    requirements.require(requirements.BUILD, {} if root else requirements.BUILD_UNPRIVILEGED)
    cache.make()
    with locked(cache.images / ".lock", 2 * STEP_TIMEOUT_S, "another build of the image"):
        present = find(cache, system)
        if present is not None and not rebuild:
            return present
        return _build(cache, progress, system, root=root, mirror=mirror)


def _build(cache: Cache, progress: Progress, system: System, *, root: bool, mirror: str | None) -> Image:
    key = recipe_key(recipe(system))
    log = cache.logs / f"build-{key}.log"
    log.unlink(missing_ok=True)
    if mirror is None:
        sources = debian_sources(Path("/etc/apt"), platform.freedesktop_os_release(), system.release)
    else:
        sources = debian_sources(Path("/nonexistent"), {}, system.release)[:1]
        sources = [sources[0].replace("http://deb.debian.org/debian", mirror)]
    progress(f"building image {key}: {system}, {len(packages_of(system))} named packages; log {log}")
    for line in sources:
        progress(f"  {line}")
    for stale in cache.images.glob(".build-*"):
        shutil.rmtree(stale, ignore_errors=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".build-", dir=cache.images) as name:
        work = Path(name)
        # A private directory for the keys and a result directory that becomes the image.
        result = work / "image"
        result.mkdir(mode=0o700)
        for which in ("build_key", "host_key"):
            _run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"testhost {which}", "-f", str(result / which)],
                log,
            )
        root_uuid = str(uuid.uuid4())
        tar = work / "root.tar"
        argv = mmdebstrap_argv(
            system=system, root=root, sources=sources, settings=apt_settings(), target=tar, root_uuid=root_uuid,
            public_key=(result / "build_key.pub").read_text(encoding="ascii").strip(), host_key=result / "host_key",
        )  # fmt: skip
        environment = dict(os.environ, PATH=requirements.SEARCH, LC_ALL="C.UTF-8")
        if root:
            environment["TMPDIR"] = str(work)
        progress("  packages: download, verify, unpack, configure (the longest step)")
        try:
            _run(argv, log, env=environment)
        except TesthostError as error:
            raise explain_key(error, system) from None
        progress(f"  packages done after {time.monotonic() - started:.0f} s; file system and boot loader")
        disk = result / "disk.img"
        _partition(disk, log)
        script = filesystem_script(tar, work / "tree", disk, root_uuid)
        _run([*([] if root else ["fakeroot"]), "sh", "-c", script], log, env=environment)
        _boot_loader(result, work, root_uuid, log)
        (result / "host_key").unlink()
        write_json(
            result / "image.json",
            {
                "key": key,
                "release": system.release,
                "kernel": system.kernel,
                "root_uuid": root_uuid,
                "sources": sources,
                "seconds": round(time.monotonic() - started, 1),
            },
        )
        target = cache.images / key
        if target.exists():
            # Running hosts keep the old disk open; snapshots of it are made anew.
            target.rename(work / "old")
        result.rename(target)
    progress(f"image {key} ready after {time.monotonic() - started:.0f} s")
    return Image(key, target)


def _partition(disk: Path, log: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(DISK_MIB * 1024 * 1024)
    sgdisk = requirements.program("sgdisk") or "sgdisk"
    _run([sgdisk, "--clear", f"--new=1:{PARTITION_SECTOR}:+{PARTITION_KIB}K", "--typecode=1:8304", str(disk)], log)


def _boot_loader(result: Path, work: Path, root_uuid: str, log: Path) -> None:
    config = work / "early.cfg"
    config.write_text(
        f"search.fs_uuid {root_uuid} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n",
        encoding="ascii",
    )
    core = work / "core.img"
    _run(["grub-mkimage", "-O", "i386-pc", "-c", str(config), "-p", "/boot/grub", "-o", str(core), *GRUB_MODULES], log)
    linux_header = Path("/usr/lib/grub/i386-pc/lnxboot.img").read_bytes()
    (result / "grub.lnx").write_bytes(linux_header + core.read_bytes())


if __name__ == "__main__":
    build(Cache(), print_message, System())
