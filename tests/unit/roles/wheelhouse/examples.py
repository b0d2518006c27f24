"""A host and a wheelhouse that fit each other, and wheels with hardly anything in them."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[4] / "roles/hosttune/files"))  # as it is for the program there

import wheelhouse
from hosttune_wheelhouse import build, fit, wheels

__all__ = ["FACTS", "FILES", "MANIFEST", "build", "fit", "host", "wheel", "wheelhouse", "wheels"]

FILES = Path(wheelhouse.__file__).parent

FACTS: dict[str, Any] = {
    "implementation": "cpython",
    "python": "3.11",
    "free_threaded": False,
    "machine": "x86_64",
    "libc": "glibc 2.36",
    "cpu_flags": sorted(fit.level_flags("x86-64-v3")),
}
MANIFEST: dict[str, Any] = {
    "format": build.FORMAT,
    "version": "0.1.0",
    "python": "3.11",
    "machine": "x86_64",
    "cpu": "x86-64-v3",
    "glibc": "2.28",
    "sources": "0" * 64,
    "wheels": {},
    "flavours": {"hosttune": {"release": "0.1.0-abc", "archive": "hosttune-0.1.0-abc.tar"}},
}


def host(**changes: object) -> fit.Host:
    return fit.Host.parse(json.dumps({**FACTS, **changes}))


def wheel(directory: Path, name: str, *requires: str, files: dict[str, str] | None = None) -> Path:
    path = directory / f"{name}-py3-none-any.whl"
    project = name.split("-")[0]
    with zipfile.ZipFile(path, "w") as archive:
        lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
        archive.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {project}\n{lines}")
        for file, text in (files or {}).items():
            archive.writestr(file, text)
    return path
