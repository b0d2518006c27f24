import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

import hosttune
from hosttune import checker, profile
from hosttune.findings import Finding, Hop, summarise_findings
from hosttune.report import formats
from hosttune.report.check import CheckReport, read_report
from hosttune.report.document import Page

PACKAGED = Path(hosttune.__file__).with_name("report") / "schema.json"
SCHEMA = jsonschema.Draft202012Validator(json.loads(PACKAGED.read_text()))
HOST = {"hostname": None, "kernel": None, "cpus": None, "time": None, "source": "live", "profile": "p"}


def write(report):
    return formats.write("json", CheckReport(report), Page())


def test_the_schema_is_one():
    SCHEMA.check_schema(SCHEMA.schema)


def test_a_report_is_valid_and_reads_back():
    hops = {"intended": Hop("ok", [1, 2], "p:1"), "runtime": Hop("bad", {"cpu1": 0.5}, "/f")}
    finding = Finding(id="a.b", status="fail", wanted=[1, 2], found=None, hops=hops, why="w", fix="f", reboot=True)
    report = summarise_findings(HOST, [finding])
    text = write(report)
    SCHEMA.validate(json.loads(text))
    assert set(json.loads(text)) == {"host", "verdict", "summary", "findings"}
    assert read_report(text.encode()) == report


def test_the_built_in_profile_on_an_empty_host_is_valid(host):
    report = checker.run_checks(profile.load_built_in(), host({}))
    SCHEMA.validate(json.loads(write(report)))
    assert report.verdict == "not ready"


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "fine"},
        {"summary": {"pass": 1}},
        {"findings": [{"id": "a.b"}]},
        {"extra": 1},
        {"host": {}},
    ],
)
def test_the_schema_refuses_what_is_no_report(change):
    good = json.loads(write(summarise_findings(HOST, [])))
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate({**good, **change})


@pytest.mark.parametrize("key", ["hostname", "kernel", "cpus", "time", "source", "profile"])
@pytest.mark.parametrize("value", [True, [1], {"a": 1}, 1.5])
def test_a_host_of_another_type_is_refused(key, value):
    report = json.loads(write(summarise_findings(HOST, [])))
    report["host"][key] = value
    with pytest.raises(msgspec.ValidationError, match=rf"\.host\.{key}|\.host\[\.\.\.\]"):
        read_report(json.dumps(report).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"host": {}, "verdict": "fine", "summary": {}, "findings": []}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(msgspec.MsgspecError):
        read_report(text)
