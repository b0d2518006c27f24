"""A host and a wheelhouse that fit each other, and wheels with hardly anything in them."""

from __future__ import annotations

import hashlib
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
    "flavours": {
        "hosttune": {
            "release": "0.1.0-abc",
            "archive": "hosttune-0.1.0-abc.tar",
            "sha256": hashlib.sha256(b"").hexdigest(),
        }
    },
}


def host(**changes: object) -> fit.Host:
    return fit.Host.parse(json.dumps({**FACTS, **changes}))


def wheel(directory: Path, name: str, *requires: str, fields: str = "", files: dict[str, str] | None = None) -> Path:
    """A wheel that pip takes. `fields`: further lines of its METADATA."""
    path = directory / f"{name}-py3-none-any.whl"
    project, version = name.split("-")[:2]
    lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
    inside = {
        "METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{lines}{fields}",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": f"{name}.dist-info/RECORD,,\n",
    }
    held = {**{f"{name}.dist-info/{key}": value for key, value in inside.items()}, **(files or {})}
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in held.items():
            archive.writestr(file, text)
    return path
