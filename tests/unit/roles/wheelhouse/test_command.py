"""wheelhouse.py: the command line, its output and its exit status."""

import json
import os
from pathlib import Path

import pytest

from tests.unit.roles.wheelhouse.examples import FACTS, MANIFEST, wheelhouse


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "wheelhouse.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "hosttune-0.1.0-abc.tar").write_bytes(b"")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = wheelhouse.main(list(arguments))
    output = capsys.readouterr()
    return code, output.out, output.err


def test_check_prints_what_to_install(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert code == 0
    assert json.loads(out)["flavours"]["hosttune"]["archive"] == str(built / "hosttune-0.1.0-abc.tar")


def test_check_refuses_before_anything_is_copied(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", str(built), "--host", json.dumps({**FACTS, "python": "3.13"}))
    assert (code, out) == (1, "")
    assert "for Python 3.11, the host's is 3.13" in err


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "wheelhouse.json"),
        (json.dumps({**MANIFEST, "format": 99}), "format 99"),
        (json.dumps({**MANIFEST, "flavours": {"agent": {"archive": "gone.tar"}}}), "lacks gone.tar"),
        (json.dumps(MANIFEST).replace("e3b0c442", "e3b0c443"), "hosttune-0.1.0-abc.tar is not what was built"),
    ],
)
def test_a_damaged_wheelhouse_is_named(
    built: Path, capsys: pytest.CaptureFixture[str], manifest: str, message: str
) -> None:
    (built / "wheelhouse.json").write_text(manifest)
    code, out, err = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert (code, out) == (2, "")
    assert message in err


def test_building_on_another_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.dumps({**FACTS, "machine": "riscv64"})
    code, _, err = run(capsys, "build", str(tmp_path), "--host", facts, "--source", str(tmp_path))
    assert code == 1
    assert "the host is riscv64" in err and "hosttune_wheelhouse" in err


def test_building_needs_the_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.dumps({**FACTS, "machine": os.uname().machine})
    code, _, err = run(capsys, "build", str(tmp_path), "--host", facts, "--source", str(tmp_path))
    assert code == 2
    assert "not the project's source tree" in err


def test_a_dry_run_builds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("build", str(tmp_path), "--host", json.dumps(FACTS), "--source", str(tmp_path), "--dry-run")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["changed"] is True
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_a_host_or_an_index_says_gives_no_order(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.dumps({**FACTS, "implementation": "py\x1b[2J\x9b\u202e"})
    code, _, err = run(capsys, "check", str(built), "--host", facts)
    assert code == 1 and "\\x1b[2J" in err
    assert all(character.isprintable() or character in "\n\t" for character in err)
