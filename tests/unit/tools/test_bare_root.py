"""tools/bare_root.py: what a command in the bare system gets, and what is refused. `.ci/run` shows the whole of it."""

from __future__ import annotations

import os
from pathlib import Path

import bare_root
import pytest


@pytest.mark.parametrize(("user", "path"), [("dev", "/usr/local/bin:/usr/bin:/bin"), ("root", bare_root.PATHS["root"])])
def test_a_command_gets_a_newcomers_environment(monkeypatch: pytest.MonkeyPatch, user: str, path: str) -> None:
    for name, value in {"LANG": "de_DE.UTF-8", "LC_ALL": "C", "PYTHONPATH": "/x", "CI": "true",
                        "https_proxy": "http://proxy:1", "PIP_INDEX_URL": "http://mirror/simple"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    words = bare_root.command_line(Path("/var/tmp/x/root"), user, Path("/home/dev/host tune"), "make test")
    given = dict(word.split("=", 1) for word in words[words.index("-i") + 1 : words.index("bash")])
    assert {"LANG", "LC_ALL", "PYTHONPATH"}.isdisjoint(given)
    assert given["CI"] == "true" and given["USER"] == user and given["PATH"] == path
    assert given["https_proxy"] == "http://proxy:1" and given["PIP_INDEX_URL"] == "http://mirror/simple"
    assert words[-1] == "umask 022; cd '/home/dev/host tune'; make test"
    assert words[words.index("--reuid") + 1] == user and "--memlock=8388608:8388608" in words


def test_the_clients_settings_are_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own, root = tmp_path / "own", tmp_path / "root"
    (own / ".config/pip").mkdir(parents=True)
    (own / ".config/pip/pip.conf").write_text("[global]\nindex-url = http://mirror/simple\n")
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.setattr(bare_root, "apt_settings", lambda: ['Acquire::http::Proxy "http://proxy:1";'])
    for name in ("etc/apt/apt.conf.d", "etc/ssl/certs", "home/dev"):
        (root / name).mkdir(parents=True)
    bare_root.copy_settings(root, root / "home/dev")
    assert (root / "home/dev/.config/pip/pip.conf").read_text().endswith("http://mirror/simple\n")
    assert (root / "etc/apt/apt.conf.d/99machine").read_text() == 'Acquire::http::Proxy "http://proxy:1";\n'
    assert (root / "etc/hosts").read_bytes() == Path("/etc/hosts").read_bytes()


def test_a_step_that_fails_says_what_it_printed() -> None:
    with pytest.raises(bare_root.BareRootError, match=r"^sh -c 'echo no space >&2; exit 3': status 3\nno space$"):
        bare_root.run("sh", "-c", "echo no space >&2; exit 3")


def test_an_ordinary_user_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bare_root, "run_bare", lambda *words: pytest.fail("something was made"))
    assert bare_root.main(["true"]) == 2
    assert capsys.readouterr().err == "bare_root: run as root: it makes a root directory and mounts\n"


def test_no_process_of_this_namespace_is_ended(tmp_path: Path) -> None:
    (tmp_path / "root.namespace").write_text(os.readlink("/proc/self/ns/mnt") + "\n")
    assert bare_root.end_processes(tmp_path / "root") == []
