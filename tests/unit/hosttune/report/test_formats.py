"""The registry of output formats: what it finds, what it offers to whom, and that a new file is all a format needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hosttune.cli import main
from hosttune.errors import UsageError
from hosttune.report import formats
from hosttune.report.document import Page


class Result:
    """A document with all views."""

    def as_data(self) -> Any:
        return {"name": "µ", "values": [1, 2.5, None], "none": []}

    def as_text(self, page: Page) -> str:
        return f"{page.width} {page.colour} {page.quiet}\n"

    def as_metrics(self) -> Iterable[Any]:
        from prometheus_client.core import GaugeMetricFamily

        yield GaugeMetricFamily("up", "whether it is", value=1)


def test_text_comes_first_and_metrics_only_where_there_are_some() -> None:
    assert formats.list_formats() == ["text", "json"]
    assert formats.list_formats((*formats.VIEWS, "as_metrics")) == ["text", "json", "prometheus"]


def test_each_format_writes_its_view() -> None:
    page = Page(width=80, colour=True, quiet=True)
    assert formats.write("text", Result(), page) == "80 True True\n"
    text = formats.write("json", Result(), page)
    assert json.loads(text) == Result().as_data()
    assert text == '{\n  "name": "µ",\n  "values": [\n    1,\n    2.5,\n    null\n  ],\n  "none": []\n}\n'
    assert formats.write("prometheus", Result(), page) == "# HELP up whether it is\n# TYPE up gauge\nup 1.0\n"


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"needs the package prometheus-client \(hosttune\[agent\]\)"):
        formats.write("prometheus", Result(), Page())


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    """A format of one file."""
    text = 'NEEDS = "as_data"\n\n\ndef write(document, page):\n    return f"verdict {document.as_data().verdict}\\n"\n'
    (tmp_path / "made_up.py").write_text(text)
    (tmp_path / "_no_format.py").write_text("raise AssertionError\n")
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    yield
    sys.modules.pop("hosttune.report.formats.made_up", None)


@pytest.mark.usefixtures("added")
def test_a_new_file_is_a_new_format_of_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert formats.list_formats() == ["text", "json", "made_up"]
    profile = tmp_path / "p.yml"
    profile.write_text("net_buffers: {sysctl: {net.core.rmem_max: 5}}\n")
    assert main(["check", "--root", str(tmp_path), "--profile", str(profile), "--format", "made_up"]) == 3
    assert capsys.readouterr().out == "verdict unknown\n"
