"""Two profiles side by side: a difference is told when each round of the one is beyond each of the other's."""

import json
from pathlib import Path

import msgspec
import pytest

from agent.cli.output import format_document
from desk.cli.main import main
from desk.profile.compare import compare
from desk.profile.result import Profile, Round, read_profile
from desk.profile.table import Row, share_out


def make(seconds: list[float], others: float = 0.0, cold: float = 1.0, **more: object) -> Profile:
    rows = [
        [Row(component="Python", function=name, file="/x/a.py", line=1, seconds=spent)
         for name, spent in (("hot", hot), ("cold", cold), ("tiny", 0.001))]
        for hot in seconds
    ]  # fmt: skip
    rounds = [Round(wall_s=hot + cold, cpu_s=None, samples=9, others=others, exit=0) for hot in seconds]
    given = {
        "of": "x", "machine": {"host": "h", "cpu": "c"}, "rate": 100, "native": True, "rounds": rounds, "profilers": [],
        "pauses": None, "main": "py-spy", "spots": share_out(rows, "py-spy"), "lines": [],
    }  # fmt: skip
    return Profile(**{**given, **more})  # type: ignore[arg-type]


def save(profile: Profile, path: Path) -> str:
    path.write_bytes(msgspec.json.encode(profile))
    return str(path)


def test_a_difference_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = save(make([4.0, 5.0, 6.0]), tmp_path / "before.json")
    after = save(make([2.0, 2.5, 3.0]), tmp_path / "after.json")
    assert main(["profile", "--compare", before, after, "--format", "json"]) == 0
    changes = {change["function"]: change for change in json.loads(capsys.readouterr().out)["changes"]}
    assert set(changes) == {"the whole run", "hot", "cold"}  # not what is next to nothing on both sides
    assert changes["hot"]["verdict"] == "less" and changes["hot"]["ratio"] == 0.5
    assert changes["hot"]["before"] == {"median": 5.0, "low": 4.0, "high": 6.0}
    assert changes["cold"]["verdict"] == "no difference shown"
    assert main(["profile", "--compare", after, before]) == 0
    shown = capsys.readouterr().out
    assert "2.500 (2.000-3.000)" in shown and " 2.00  more" in shown


def test_ranges_that_meet_show_no_difference() -> None:
    found = compare(make([4.0, 5.0, 6.0]), make([1.0, 2.0, 4.0]), ("a", "b"))
    assert {change.function: change.verdict for change in found.changes}["hot"] == "no difference shown"


def test_what_is_only_on_one_side() -> None:
    other = make([4.0, 5.0, 6.0])
    other.spots = [spot for spot in other.spots if spot.function != "hot"]
    found = {change.function: change for change in compare(other, make([4.0, 5.0, 6.0]), ("a", "b")).changes}
    assert (found["hot"].verdict, found["hot"].ratio) == ("more", None)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (make([4.0, 5.0, 6.0], others=0.2), "the machine was busy in 3 of 3 rounds: others used up to 20% of it"),
        (make([4.0, 5.0]), "2 rounds, allowed: at least 3"),
        (make([4.0, 5.0, 6.0], machine={"host": "other", "cpu": "c"}), "of two machines"),
        (make([4.0, 5.0, 6.0], rate=999), "not measured alike"),
        (make([4.0, 5.0, 6.0], main="perf"), "not measured alike"),
    ],
)
def test_a_refusal(other: Profile, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [save(make([4.0, 5.0, 6.0]), tmp_path / "a.json"), save(other, tmp_path / "b.json")]
    for words in (paths, paths[::-1]):
        assert main(["profile", "--compare", *words]) == 3
        shown = capsys.readouterr().out
        assert why in shown and "the whole run" not in shown


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a profile"),
        (b"\xff\xfe", "not a profile"),
        (b'{"kind": "desk profile 1"}', "not a profile"),
        (msgspec.json.encode(make([1.0], machine={"host": "DEEP"})).replace(b'"DEEP"', b"[" * 20_000), "not a profile"),
        (msgspec.json.encode(make([1.0])).replace(b"desk profile 1", b"desk profile 9"), "found a profile of kind"),
        (msgspec.json.encode(make([1.0], rounds=[])), "another number of times"),
    ],
)
def test_what_is_no_profile(data: bytes, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(data)
    assert main(["profile", "--compare", str(path), str(path)]) == 2
    assert why in capsys.readouterr().err


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jinja2")
    path = save(make([4.0, 5.0, 6.0], of="<script>"), tmp_path / "a.json")
    assert main(["profile", "--compare", path, path, "--format", "html"]) == 0
    assert "no difference shown" in capsys.readouterr().out
    assert read_profile(Path(path)).of == "<script>"


def test_a_page_of_hostile_names(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    hostile = "<script>alert(1)</script>\x1b[2J"
    profile = make(
        [4.0], of=hostile, machine={"host": hostile, "kernel": hostile, "cpu": hostile, "cpus": 2, "time": ""}
    )
    profile.spots[0].function = profile.spots[0].file = hostile
    page = format_document(profile, "html")
    assert "<script" not in page and "\x1b" not in page and page.count("&lt;script&gt;") >= 5
