"""A host in a directory for plugins/modules/hosttune_settings.py, and a concern with files and values for it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ansible.module_utils.basic")

# By these names the module finds plugins/module_utils, as Ansible has both on a host.
settings = importlib.import_module("plugins.modules.hosttune_settings")
files = importlib.import_module("plugins.module_utils.hosttune_files")
records = importlib.import_module("plugins.module_utils.hosttune_record")

CONFIG = "/etc/sysctl.d/99-zz-hosttune-demo.conf"
PROFILE = "/etc/hosttune/profile.d/demo.yml"
THEIRS = "/etc/default/demo"
BACKLOG = "/proc/sys/net/core/netdev_max_backlog"
RMEM = "/proc/sys/net/ipv4/tcp_rmem"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
RECORD = "/var/lib/hosttune/demo/original.json"

FILES: dict[str, Any] = {CONFIG: "a = 1\n", PROFILE: "demo: {}\n"}
VALUES: dict[str, Any] = {BACKLOG: 16384, RMEM: [4096, 131072, 67108864], THP: "never"}


class Machine(settings.Host):  # type: ignore[name-defined,misc]
    """A host in a directory, whose kernel values are written as a whole; transparent_hugepage shows a choice."""

    def at(self, path: str) -> Path:
        return Path(str(self.root), path.lstrip("/"))

    def write(self, path: str, text: str | bytes) -> None:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_bytes(text if isinstance(text, bytes) else text.encode())

    def _write_value(self, descriptor: int, value: bytes) -> None:
        if THP.endswith("/".join(Path(f"/proc/self/fd/{descriptor}").readlink().parts[-3:])):
            words = ("always", "madvise", "never")
            value = " ".join(f"[{word}]" if word == value.decode() else word for word in words).encode()
        os.ftruncate(descriptor, 0)
        os.write(descriptor, value)

    def text(self, path: str) -> str:
        return self.at(path).read_text()

    def tree(self) -> dict[str, tuple[Any, ...]]:
        """Returns what each path holds, and its mode and owner; of values the words."""
        found: dict[str, tuple[Any, ...]] = {}
        for path in sorted(Path(str(self.root)).rglob("*")):
            name = f"/{path.relative_to(str(self.root))}"
            status = path.lstat()
            content: Any = "directory"
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = path.read_bytes()
            if name.startswith(("/proc/", "/sys/")):
                found[name] = (content.split() if isinstance(content, bytes) else content,)
            else:
                found[name] = (content, oct(status.st_mode), status.st_uid, status.st_gid)
        return found


def make_machine(root: Path) -> Machine:
    root.mkdir(exist_ok=True)
    machine = Machine(str(root))
    for directory in ("etc/sysctl.d", "var/lib"):
        (root / directory).mkdir(parents=True)
    machine.write(BACKLOG, "1000\n")
    machine.write(RMEM, "4096\t131072\t6291456\n")
    machine.write(THP, "[always] madvise never\n")
    return machine


def run(machine: Machine, **options: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"name": "demo", "state": "present", "files": FILES, "values": VALUES, **options}
    result: dict[str, Any] = settings.run(machine, **wanted)
    return result
