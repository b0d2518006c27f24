"""Where packages come from, and what is said when programs are missing."""

from pathlib import Path

import pytest

from testhost import requirements
from testhost.aptsources import KEYRING, debian_sources
from testhost.errors import UsageError

BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm"}


def etc(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        path = tmp_path / "sources.list" if name == "main" else tmp_path / "sources.list.d" / name.replace("_", ".")
        path.write_text(text)
    return tmp_path


def test_deb822_entries_of_the_distribution_are_taken(tmp_path: Path) -> None:
    text = """Types: deb
# http://snapshot.example
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/own.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
    assert debian_sources(etc(tmp_path, debian_sources=text), BOOKWORM, "bookworm") == [
        "deb [signed-by=/usr/share/keyrings/own.gpg] http://mirror.example/debian bookworm main",
        "deb [signed-by=/usr/share/keyrings/own.gpg] http://mirror.example/debian bookworm-updates main",
        f"deb [signed-by={KEYRING}] http://mirror.example/debian-security bookworm-security main",
    ]


def test_other_archives_are_left_out(tmp_path: Path) -> None:
    files = {
        "main": "deb http://mirror.example/debian bookworm main\n# deb http://no.example/debian bookworm main\n",
        "vendor_list": "deb https://v.example/apt cloud-sdk-bookworm main\ndeb [arch=amd64] http://x stable main\n",
        "node_sources": "Types: deb\nURIs: https://node.example\nSuites: nodistro\nComponents: main\n",
        "off_sources": "Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n",
        "old_save": "deb http://old.example/debian bookworm main\n",
    }
    assert debian_sources(etc(tmp_path, **files), BOOKWORM, "bookworm") == [
        f"deb [signed-by={KEYRING}] http://mirror.example/debian bookworm main"
    ]


def test_trusted_is_not_taken_over(tmp_path: Path) -> None:
    text = "deb [trusted=yes signed-by=/k.gpg] http://mirror.example/debian bookworm main\n"
    assert debian_sources(etc(tmp_path, main=text), BOOKWORM, "bookworm") == [
        "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main"
    ]


def test_a_newer_debian_gives_its_mirror_for_the_guests_suite(tmp_path: Path) -> None:
    path = etc(tmp_path, main="deb http://mirror.example/debian trixie main\n")
    lines = debian_sources(path, {"ID": "debian", "VERSION_CODENAME": "trixie"}, "bookworm")
    assert lines == [f"deb [signed-by={KEYRING}] http://mirror.example/debian bookworm main"]


def test_an_older_debian_gives_its_mirror_for_a_newer_suite(tmp_path: Path) -> None:
    own = "/usr/share/keyrings/debian-archive-bookworm-stable.gpg"
    text = f"""deb [signed-by={own}] http://mirror.example/debian bookworm main
deb [signed-by=/etc/apt/keyrings/mirror.gpg] http://mirror.example/security bookworm-security main
"""
    # A key of one release has not signed the other; a mirror that signs by itself has one key for all.
    assert debian_sources(etc(tmp_path, main=text), BOOKWORM, "trixie") == [
        f"deb [signed-by={KEYRING}] http://mirror.example/debian trixie main",
        "deb [signed-by=/etc/apt/keyrings/mirror.gpg] http://mirror.example/security trixie-security main",
    ]


def test_ubuntu_uses_debians_own_archive(tmp_path: Path) -> None:
    path = etc(tmp_path, main="deb http://archive.ubuntu.com/ubuntu noble main\n")
    lines = debian_sources(path, {"ID": "ubuntu", "VERSION_CODENAME": "noble"}, "trixie")
    assert len(lines) == 3 and all(f"{KEYRING}] http://deb.debian.org/" in line and " trixie" in line for line in lines)


def test_missing_programs_are_all_named_with_their_package() -> None:
    with pytest.raises(UsageError) as caught:
        requirements.require({"no-such-qemu": "qemu-system-x86", "sh": "dash"}, {"/no/such/file": "grub-pc-bin"})
    text = str(caught.value)
    assert caught.value.status == 2
    assert "no-such-qemu  (Debian package qemu-system-x86)" in text and "/no/such/file" in text
    assert "apt install grub-pc-bin qemu-system-x86" in text and "dash" not in text
