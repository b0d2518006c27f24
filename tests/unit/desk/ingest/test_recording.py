"""A topic becomes a recording that `agent replay` reads; and records of a schema become records of a worker's ring."""

import itertools
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.exchange.feed import generated
from agent.shm.ring import Ring
from desk.cli.main import main
from desk.ingest import recording

from ...waiting import wait
from ..mock_kafka import MockKafka
from .setting import LIMIT, TOPIC, Ingest, make_quotes, produce


@pytest.mark.parametrize("form", ["binance", "itch", "csv"])
def test_replay_reads_what_was_recorded(
    mock: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    feed = generated(2_000, 1, ("AAPL",), form)
    messages = [feed.text[begin:end] for begin, end in itertools.pairwise(feed.offsets)]
    produce(mock.servers, messages)
    out = tmp_path / "recording"
    with Ingest(tmp_path, mock.servers, topic=f'format = "{form}"') as ingest:
        assert main(["ingest", str(ingest.config), "--out", str(out)]) == 0
        assert (
            capsys.readouterr().out == f"{out}: {len(messages)} records of ticks-0, offsets 0 to {len(messages) - 1}\n"
        )
        done = subprocess.run([sys.executable, "-P", "-m", "agent", "replay", str(out), "--format", "json"],
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        report = json.loads(done.stdout)
        assert sum(report["messages"].values()) == len(messages) and report["ok"], report
        assert main(["ingest", str(ingest.config), "--out", str(out)]) == 2
        said = "is there already, and is not replaced: name another file, or remove it"
        assert capsys.readouterr().err == f"desk: {out}: {said}\n"


def test_holes_and_what_is_no_line_are_told(
    mock: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": mock.servers, "transactional.id": "x"})
    producer.init_transactions(10)
    for quote in [*make_quotes(0, 2), b"a\nb"]:
        producer.begin_transaction()
        producer.produce(TOPIC, quote, partition=0)
        producer.commit_transaction(10)
    out = tmp_path / "recording"
    with Ingest(tmp_path, mock.servers, '[kafka.librdkafka]\n"check.crcs" = false') as ingest:
        assert main(["ingest", str(ingest.config), "--out", str(out)]) == 0
    words = "2 records of ticks-0, offsets 0 to 5; 3 offsets have no record, 1 records are no binance message"
    assert capsys.readouterr().out == f"{out}: {words}\n"
    assert [line.split(b" ", 1)[1] for line in out.read_bytes().splitlines()] == make_quotes(0, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--partition", "ticks-0"], "--partition: found without --out"),
        (["--out", "x", "--partition", "ticks-1"], "--partition: found 'ticks-1', allowed: ticks-0"),
        (["--out", "/nowhere/x"], "/nowhere/x: No such file or directory"),
    ],
)
def test_a_recording_that_cannot_be_is_refused(
    mock: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["ingest", str(Ingest(tmp_path, mock.servers).config), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"desk: {said}")


def test_only_partitions_with_the_messages_of_a_feed_are_recorded(
    mock: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Ingest(tmp_path, mock.servers).config
    records = 'records = { message = "desk.v1.GeoEvent", fields = ["id"] }'
    more = f'[[ingest.topics]]\nname = "places"\nring = "{tmp_path}/places"\n{records}\n'
    config.write_text(config.read_text() + more)
    produce(mock.servers, make_quotes(0, 2))
    assert main(["ingest", str(config), "--out", str(tmp_path / "one")]) == 0
    assert main(["ingest", str(config), "--out", str(tmp_path / "two"), "--partition", "places-0"]) == 2
    config.write_text(config.read_text() + f'[[ingest.topics]]\nname = "other"\nring = "{tmp_path}/other"\n')
    assert main(["ingest", str(config), "--out", str(tmp_path / "two")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("desk: --out: places has records for a worker"), said
    assert said[1] == "desk: --partition: missing, and required with --out here; allowed: ticks-0, other-0"
    assert not (tmp_path / "two").exists()


def test_no_file_is_left_where_the_topic_is_unknown_or_the_disk_is_full(mock: MockKafka, tmp_path: Path) -> None:
    ingest, out = Ingest(tmp_path, mock.servers), tmp_path / "recording"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def run(**more: object) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "desk", "ingest", str(ingest.config), "--out", str(out)],
            capture_output=True,
            text=True,
            timeout=60,
            env=dict(os.environ),
            **more,
        )  # type: ignore
        assert done.returncode == 2 and not out.exists()
        return str(done.stderr)

    produce(mock.servers, make_quotes(0, 5_000))
    assert run(preexec_fn=limit) == f"desk: {out}: File too large\n"
    ingest.set(f'name = "{TOPIC}"', 'name = "nowhere"')
    assert "nowhere-0: " in run() and "nknown" in run()


def test_messages_become_records_of_a_ring(mock: MockKafka, tmp_path: Path) -> None:
    """seq (1), id (2) of desk.v1.GeoEvent, behind offset + 1."""
    values = [b"\x08" + bytes([n]) + b"\x10" + bytes([n + 1]) for n in range(100)]
    produce(mock.servers, [*values[:50], b"\x08", None, *values[50:]])
    topic = 'records = { message = "desk.v1.GeoEvent", fields = ["seq", "id"] }'
    with Ingest(tmp_path, mock.servers, topic=topic).start() as ingest:
        wait(lambda: ingest.number("records") == 100, "not all came")
        ingest.kill()
        produce(mock.servers, values[:20])
        ingest.start()
        block, until = b"", time.monotonic() + LIMIT
        with Ring.attach(ingest.ring, "reader") as ring:
            while len(block) < 120 * 24 and time.monotonic() < until:
                found = ring.peek_block()
                block += found
                ring.commit(len(found) // 24)
        numbers = [*range(1, 51), *range(53, 103), *range(103, 123)]
        parts = [*range(100), *range(20)]
        assert list(struct.iter_unpack("<QQQ", block)) == [(n, p, p + 1) for n, p in zip(numbers, parts, strict=True)]
        wait(lambda: ingest.number("passed") == 122, "not all passed")
        assert ingest.end(limit=3)[0] == 0


def test_the_messages_of_an_envelope_are_taken_out(
    mock: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quotes = make_quotes(0, 3)

    def wrap(quote: bytes) -> bytes:
        return b"\x0a" + bytes([len(quote)]) + quote

    # An unknown field before; one twice, of which the last counts; none; malformed.
    values = [b"\x10\x05" + wrap(quotes[0]), wrap(b"not this one") + wrap(quotes[1]), b"\x10\x05", b"\x0a\x7fx",
              wrap(quotes[2])]  # fmt: skip
    produce(mock.servers, values)
    with Ingest(tmp_path, mock.servers, topic="envelope = {}").start() as ingest:
        assert [(p[1], p[3]) for p in ingest.take(3)] == list(zip((1, 2, 5), quotes, strict=True))
        wait(lambda: ingest.number("refused") == 2, "not counted")
        assert ingest.end(limit=3)[0] == 0
        out = tmp_path / "recording"
        assert main(["ingest", str(ingest.config), "--out", str(out)]) == 0
        assert capsys.readouterr().out.endswith("0 offsets have no record, 2 records are no binance message\n")


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ('records = { message = "desk.v1.Nothing", fields = ["seq"] }', "message: found 'desk.v1.Nothing', allowed: "),
        ('records = { message = "desk.v1.GeoEvent", fields = ["sequence"] }', "fields: found sequence, allowed: seq"),
        ('envelope = { field = "value" }', "desk.v1.Envelope: field: found 'value', allowed: payload"),
        ('envelope = { message = "desk.v1.GeoEvent", field = "seq" }', "seq: allowed: bytes or a string, one"),
        ('envelope = { schema = "/nowhere/x.binpb" }', "/nowhere/x.binpb: No such file or directory"),
    ],
)
def test_a_schema_without_that_is_refused(mock: MockKafka, tmp_path: Path, topic: str, said: str) -> None:
    ingest = Ingest(tmp_path, mock.servers, topic=topic)
    command = [sys.executable, "-P", "-m", "desk", "ingest", str(ingest.config)]
    environment = os.environ | {"RUNTIME_DIRECTORY": str(ingest.runtime)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("desk: ingest.topics: ticks: ") and said in done.stderr
    assert not ingest.ring.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, None])
def test_a_recording_has_its_name_when_it_is_whole(
    mock: MockKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: type[BaseException] | None
) -> None:  # fmt: skip
    produce(mock.servers, make_quotes(0, 10))
    folder, config = tmp_path / "out", str(Ingest(tmp_path, mock.servers).config)
    folder.mkdir()
    out, write = folder / "recording", recording._write

    def watch(*given: Any) -> Any:
        assert not out.exists()
        found = write(*given)
        if error:
            raise error
        out.write_text("another's")
        return found

    monkeypatch.setattr(recording, "_write", watch)
    assert main(["ingest", config, "--out", str(out)]) == (130 if error else 2)
    if error:
        assert list(folder.iterdir()) == []
    else:
        assert list(folder.iterdir()) == [out] and out.read_text() == "another's"
        assert capsys.readouterr().err == f"desk: {out}: File exists\n"
