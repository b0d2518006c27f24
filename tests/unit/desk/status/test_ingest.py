"""`desk status` beside a real `desk ingest` and a mock broker: lags and rings."""

from pathlib import Path

import pytest

from desk.cli.main import main

from ..ingest.conftest import mock
from ..ingest.setting import TOPIC, Ingest, make_quotes, produce
from ..mock_kafka import MockKafka
from .conftest import Look, wait_until

__all__ = ["mock"]


def test_lag_and_ring_of_an_ingest_are_shown(
    look: Look, mock: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = Ingest(tmp_path, mock.servers)
    config = str(ingest.config)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(ingest.runtime))
    code, data = look(config)
    assert code == 3
    assert "desk process ingest: has never run here, and desk.toml has it" in data["unknown"]
    assert any(line.startswith(f"ring: {ingest.ring}: ") for line in data["unknown"])
    produce(mock.servers, make_quotes(0, 500))
    with ingest.start():
        label = f"[{TOPIC}-0]"
        wait_until(lambda: look(config)[1]["processes"][0]["numbers"].get(f"records{label}") == 500)
        code, data = look(config)
        (process,), (ring,) = data["processes"], data["rings"]
        assert (process["state"], process["numbers"][f"lag{label}"]) == ("runs", 0)
        assert (ring["path"], ring["writer"], ring["reader"]) == (str(ingest.ring), True, False)
        assert data["findings"] == [f"ring {ingest.ring}: nobody reads {ring['used']:,} bytes in it"]
        capsys.readouterr()
        assert main(["status", config]) == 1
        text = capsys.readouterr().out
        assert f"lag{label} 0" in text
