"""What a stranger plants in a sticky directory just before root makes a directory there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import pytest

STRANGER = 12345


def plant_at_mkdir(
    monkeypatch: pytest.MonkeyPatch, parent: Path, kind: Literal["link", "directory"] = "link"
) -> tuple[Path, Path]:
    """Have the next mkdir(2) find `base`, a stranger's link or directory, where nothing was when the caller looked.

    Returns the path of `base`, in a sticky directory, and the directory that the link leads to.
    """
    sticky, victim = parent / "sticky", parent / "victim"
    sticky.mkdir()
    sticky.chmod(0o1777)
    victim.mkdir()
    base, real = sticky / "base", os.mkdir

    def plant(path: Any, *words: Any, **options: Any) -> None:
        if not os.path.lexists(base):
            if kind == "link":
                os.symlink(victim, base)
            else:
                real(base)
            os.chown(base, STRANGER, STRANGER, follow_symlinks=False)
        real(path, *words, **options)

    monkeypatch.setattr(os, "mkdir", plant)
    return base, victim
