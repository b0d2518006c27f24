"""What `make demo` shows of the desk: records of Kafka reach an engine, a limit that is changed in Redis another one,
and a Prometheus reads both."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from testhost import Host, desk_services
from testhost.errors import TesthostError

RECORDS = 20_000
ENGINE = "kafka"
EXPORT_PORT = 9750
#: A panel of `desk dashboards`: what is asked of Prometheus is its own query.
DASHBOARD, PANEL = "desk-overview.json", "Engines that run"
LIMIT_S = 90

#: An engine whose feed is the ring that `desk ingest` fills. It has no exchange, so no order leaves.
CONFIGURATION = """
[feed]
ring = "/run/trading_agent/ticks.ring"
format = "binance"
[exchange]
address = "127.0.0.1"
port = 26499
username = "trader"
password_file = "/run/trading_agent/exchange_password"
[strategy]
name = "every_tick_cython"
symbol = "BTCUSDT"
size = 1
[risk]
max_size = 10
max_orders_per_second = 1000
[engine]
name = "kafka"
yield_every_ms = 1
yield_us = 20000
"""
START = """
set -e
umask 077
cat >/run/trading_agent/kafka.toml
echo none >/run/trading_agent/exchange_password
chown trader: /run/trading_agent/kafka.toml /run/trading_agent/exchange_password
systemd-run --quiet --unit=demo-engine --service-type=notify --uid=trader --gid=trader \
    --property=RuntimeDirectory=trading_agent --property=RuntimeDirectoryPreserve=yes \
    --property=RuntimeDirectoryMode=0700 --property=StateDirectory=trading_agent \
    --property=StateDirectoryMode=0700 --property=CacheDirectory=trading_agent \
    --property=CPUAffinity=0 --property=LimitMEMLOCK=infinity \
    /opt/trading_agent/current/bin/agent run /run/trading_agent/kafka.toml
"""


def show_desk(host: Host, redis_password: str, logs: Path, step: Callable[[str], None]) -> tuple[str, list[str]]:
    """Returns what was seen, as text, and what did not hold. Raises TesthostError."""
    step("the desk: Redis and a Kafka broker in the guest, and an engine behind desk ingest")
    desk_services.start(host, redis_password)
    started = host.run(["sh", "-c", START], input=CONFIGURATION, timeout=150)
    if started.returncode:
        raise TesthostError(f"the engine behind desk ingest: {started.stderr.strip()}")

    step(f"{RECORDS:,} records through Kafka, desk ingest and a ring")
    sent = desk_services.ask(host, "records", "ticks", str(RECORDS), timeout=300)
    try:
        seen = desk_services.ask(host, "engine", ENGINE, str(RECORDS), timeout=300)
    finally:
        said = host.run("journalctl --unit demo-engine --unit desk-ingest --no-pager --output short-precise")
        (logs / "desk.log").write_text(said.stdout, encoding="utf-8")

    step("a limit, changed in Redis")
    limit = desk_services.ask(host, "limit", "main", "max_size", "7", redis_password, timeout=300)

    step("a Prometheus, and the query of a dashboard's panel")
    with _prometheus(host, logs) as ask:
        expression, series = _query(ask, logs)
    status = host.run(["runuser", "-u", "trader", "--", "/opt/desk/current/bin/desk", "status"], timeout=60)
    (logs / "desk_status.txt").write_text(status.stdout + status.stderr, encoding="utf-8")

    lines = [
        f"records sent to Kafka     {sent['records']:,}",
        f"read by the engine        {seen['messages']:,}: lost {seen['lost']:,}, gaps {seen['gaps']:,}, "
        f"twice {seen['duplicates']:,}",
        f"max_size set in Redis     {limit['before']} -> {limit['after']}, in the engine after {limit['ms']:,} ms",
        f"asked of Prometheus       {expression}",
        *(f"                          {name}: {value}" for name, value in series.items()),
    ]
    problems = []
    if seen["messages"] != sent["records"] or seen["lost"] or seen["gaps"]:
        problems.append(f"desk: {sent['records']:,} records sent, and the engine has {seen}")
    problems += [] if series else [f"desk: Prometheus has no data for {expression}"]
    return "\n".join(lines), problems


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _prometheus(host: Host, logs: Path) -> Iterator[Callable[[str], Any]]:
    """Yields a question to a Prometheus on this machine, which scrapes the guest's exporter through ssh."""
    own, forwarded = _free_port(), _free_port()
    job = {"job_name": "desk", "static_configs": [{"targets": [f"127.0.0.1:{forwarded}"]}]}
    (logs / "prometheus.yml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "2s", "scrape_timeout": "2s"}, "scrape_configs": [job]})
    )
    argv = host.access.argv("root", ["sleep", "300"])
    forward = [argv[0], "-L", f"127.0.0.1:{forwarded}:127.0.0.1:{EXPORT_PORT}", *argv[1:]]
    command = [str(Path(sys.prefix) / "prometheus/usr/bin/prometheus"), f"--config.file={logs / 'prometheus.yml'}",
               f"--web.listen-address=127.0.0.1:{own}", f"--storage.tsdb.path={logs / 'prometheus'}",
               "--log.level=warn"]  # fmt: skip
    with (logs / "prometheus.log").open("w") as log, contextlib.ExitStack() as held:
        for words in (forward, command):
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            held.callback(child.wait, 10)
            held.callback(child.terminate)

        def ask(expression: str) -> Any:
            query = urllib.parse.urlencode({"query": expression})
            with urllib.request.urlopen(f"http://127.0.0.1:{own}/api/v1/query?{query}", timeout=10) as answer:
                return json.load(answer)["data"]["result"]

        yield ask


def _query(ask: Callable[[str], Any], logs: Path) -> tuple[str, dict[str, str]]:
    """Returns the panel's query, and its series by engine; none if it has no data in time."""
    from desk.export.dashboards import make_dashboards

    board = json.loads(make_dashboards()[DASHBOARD])
    panel = next(panel for panel in board["panels"] if panel["title"] == PANEL)
    expression = panel["targets"][0]["expr"].replace('=~"$agent"', '=~".+"')
    limit = time.monotonic() + LIMIT_S
    series: dict[str, str] = {}
    while not series and time.monotonic() < limit:
        time.sleep(1)
        with contextlib.suppress(OSError):  # it does not listen yet
            series = {row["metric"].get("agent", ""): row["value"][1] for row in ask(expression)}
    return expression, series
