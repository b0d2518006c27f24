"""`hosttune check --format prometheus -o FILE`: what node_exporter's textfile collector serves."""

import os
import stat
import threading

import msgspec
import pytest

from hosttune import cli
from hosttune.findings import STATUSES
from hosttune.report.check import CheckReport, read_report

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

REPORT = {
    "host": {"hostname": "h", "kernel": "6.1", "cpus": 2, "time": "2026-11-29T03:00:00Z", "source": "live",
             "profile": "p.yml"},
    "verdict": "not ready",
    "summary": {**dict.fromkeys(STATUSES, 0), "fail": 1, "pass": 1},
    "findings": [
        {"id": "a.b", "status": "fail", "wanted": 1, "found": 2, "hops": {}, "why": "so", "fix": "do", "reboot": False},
        {"id": "a.c", "status": "pass", "wanted": 1, "found": 1, "hops": {}, "why": "", "fix": "", "reboot": False},
    ],
}  # fmt: skip


def read_samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check(tree, tmp_path, *arguments):
    files = {f"/{d}/sysctl.d/README": "" for d in ("etc", "run", "usr/local/lib", "usr/lib")}
    files["/proc/sys/net/core/rmem_max"] = "4"
    (tmp_path / "p.yml").write_text("net_buffers: {sysctl: {net.core.rmem_max: 5}}\n")
    return cli.main(["check", "--root", str(tree(files)), "--profile", str(tmp_path / "p.yml"), *map(str, arguments)])


def test_the_verdict_its_time_and_what_did_not_pass():
    from hosttune.report import formats
    from hosttune.report.document import Page

    report = read_report(msgspec.json.encode(REPORT))
    found = read_samples(formats.write("prometheus", CheckReport(report), Page()))
    assert found["hosttune_check_verdict", ("verdict", "not ready")] == 1
    assert found["hosttune_check_verdict", ("verdict", "ready")] == 0
    assert found["hosttune_check_time_seconds",] == 1795921200
    assert found["hosttune_check_findings", ("status", "fail")] == 1
    assert found["hosttune_check_finding", ("id", "a.b"), ("status", "fail")] == 1
    assert not [key for key in found if ("id", "a.c") in key]
    assert found["hosttune_check_info", ("profile", "p.yml"), ("source", "live")] == 1
    untimed = msgspec.structs.replace(report, host={**report.host, "time": None})
    assert not [key for key in read_samples(formats.write("prometheus", CheckReport(untimed), Page())) if "time" in key]


def test_the_file_has_what_standard_output_has_and_the_exit_status_stays(tree, tmp_path, capsys):
    file = tmp_path / "hosttune.prom"
    assert check(tree, tmp_path, "--format", "prometheus") == 1
    shown = capsys.readouterr().out
    assert check(tree, tmp_path, "--format", "prometheus", "-o", file) == 1
    assert capsys.readouterr() == ("", "")
    assert file.read_text() == shown and shown.startswith("# HELP hosttune_check_verdict ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert check(tree, tmp_path, "-o", file) == 1
    assert file.read_text().startswith("NOT READY")


def test_a_reader_never_sees_a_part(tree, tmp_path):
    """Each reading is a whole file: the new one takes the old one's name."""
    file = tmp_path / "hosttune.prom"
    check(tree, tmp_path, "--format", "prometheus", "-o", file)
    whole, seen, done = file.read_text(), set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(file.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(10):
            check(tree, tmp_path, "--format", "prometheus", "-o", file)
    finally:
        done.set()
        reader.join()
    assert seen == {whole}
    assert sorted(name for name in os.listdir(tmp_path) if "prom" in name) == ["hosttune.prom"]


@pytest.mark.parametrize("place", ["missing/hosttune.prom", ".", "file/hosttune.prom"])
def test_a_place_for_no_file_is_named(tree, tmp_path, capsys, place):
    (tmp_path / "file").touch()
    assert check(tree, tmp_path, "--format", "prometheus", "-o", tmp_path / place) == 2
    assert f"{tmp_path / place}: cannot be written: " in capsys.readouterr().err


def test_what_was_there_stays_where_the_check_cannot_run(tree, tmp_path, capsys):
    file = tmp_path / "hosttune.prom"
    file.write_text("old")
    assert cli.main(["check", "--profile", str(tmp_path / "none.yml"), "--format", "prometheus", "-o", str(file)]) == 2
    assert file.read_text() == "old" and capsys.readouterr().err
