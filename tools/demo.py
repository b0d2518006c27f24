"""`make demo`: a stock machine becomes a tuned, verified trading host running the agent, in one command.

Everything is real: a Debian guest with its own kernel and boot loader, the playbooks that a desk runs, the agent,
and an exchange simulator that measures it from outside. Exit status 0 only if all of it held.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml
from demo_feed import Feed, RecordingRefused, is_tradable, read_feed

from hosttune.output import escape, print_message, write_out
from hosttune.report import formats
from hosttune.report.check import read_report
from hosttune.report.diff import Difference
from hosttune.report.document import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from demo_desk import show_desk  # noqa: E402 - finds testhost through the line above

from testhost import Host, running  # noqa: E402
from testhost.errors import TesthostError  # noqa: E402

LOGS = ROOT / ".cache" / "demo"
HOST = "demo"
AGENT = "/opt/trading_agent/current/bin/agent"
SEGMENT = "/run/trading_agent/main.segment"
HOUSEKEEPING_CPU = 0
PLAYBOOK_TIMEOUT_S = 900
FEED_TIMEOUT_S = 300
RATE = 1000  # Messages a second: what an emulated machine can take beside QEMU's own work.
GENERATED_MESSAGES = 20_000
ERASE = "\x1b[2K"  # ECMA-48: the line that the cursor is in
ORDERS = (ERASE, "\r")
WIDTH = 120  # columns, where there is no terminal to ask


class DemoError(Exception):
    """What did not hold, in words for the person at the terminal."""


class Progress:
    """A line for each step with the seconds since the start, and on a terminal a line that moves below it."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.live = sys.stdout.isatty()

    def step(self, text: str) -> None:
        self._clear()
        write_out(f"[{time.monotonic() - self.started:4.0f} s] {text}\n")

    def detail(self, text: str) -> None:
        if self.live:
            self._clear()
            line = f"         {escape(text)}"[: shutil.get_terminal_size().columns - 1]
            write_out(f"{line}\r", orders=ORDERS)

    def show(self, text: str) -> None:
        self._clear()
        write_out("\n" + text.rstrip() + "\n\n")

    def _clear(self) -> None:
        if self.live:
            write_out(f"{ERASE}\r", orders=ORDERS)


def playbook(progress: Progress, name: str, *options: str) -> None:
    """Run a playbook as a desk does; its whole output goes to a log, its task names to the terminal."""
    log = LOGS / f"{name}.log"
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i", str(ROOT / "inventory/demo"), "-i", str(LOGS / "hosts.yml"), *options, f"playbooks/{name}.yml",
    ]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                   "PYTHONUNBUFFERED": "1", "DEMO_DESK": "1"}  # fmt: skip
    deadline = time.monotonic() + PLAYBOOK_TIMEOUT_S
    with log.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        try:
            assert child.stdout is not None
            for line in child.stdout:
                file.write(line)
                if line.startswith(("TASK [", "RUNNING HANDLER [")):
                    progress.detail(line.partition("[")[2].partition("]")[0])
                if time.monotonic() > deadline:
                    raise DemoError(f"playbooks/{name}.yml took longer than {PLAYBOOK_TIMEOUT_S} s; log: {log}")
            status = child.wait(30)
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
    if status:
        end = "\n".join(log.read_text(encoding="utf-8").splitlines()[-25:])
        raise DemoError(f"playbooks/{name}.yml failed; log: {log}\n{end}")


def fetch(host: Host, command: str, name: str, *, ok: tuple[int, ...] = (0,), timeout: float = 180) -> str:
    """Run a command on the host and keep what it prints in the logs under `name`."""
    done = host.run(command, timeout=timeout)
    (LOGS / name).write_text(done.stdout, encoding="utf-8")
    if done.returncode not in ok:
        raise DemoError(f"on the host: {command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def judge_untuned(profile: Path) -> str:
    """Judge the snapshot of the untuned host by a profile; returns the report as JSON."""
    command = [str(Path(sys.executable).with_name("hosttune")), "check", "--profile", str(profile),
               "--snapshot", "untuned.json", "--format", "json"]  # fmt: skip
    done = subprocess.run(command, cwd=LOGS, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode not in (0, 1):
        raise DemoError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def before_and_after(host: Host) -> tuple[str, dict[str, Any]]:
    """Judge the host as it was and as it is now by one profile: what the roles wrote.

    Returns the table, as wide as the terminal, and the later report.
    """
    after = fetch(host, "hosttune check --format json", "after.json", ok=(0, 1, 3))
    profile = LOGS / "profile.d"
    shutil.rmtree(profile, ignore_errors=True)
    profile.mkdir()
    for name in host.run(["ls", "/etc/hosttune/profile.d"], check=True).stdout.split():
        text = host.run(["cat", f"/etc/hosttune/profile.d/{name}"], check=True).stdout
        (profile / name).write_text(text, encoding="utf-8")
    before = judge_untuned(profile)
    (LOGS / "before.json").write_text(before, encoding="utf-8")
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    difference = Difference(read_report(before.encode()), read_report(after.encode()))
    return formats.write("text", difference, Page(width=width)), json.loads(after)


def configure_agent(feed: Feed | None, symbols: Sequence[str]) -> list[str]:
    """The options of ansible-playbook that make the agent trade the feed's symbols; none: as in the inventory."""
    variables: dict[str, Any] = {}
    if feed is not None:
        variables = {"demo_agent_symbols": list(feed.symbols), "demo_agent_format": feed.format}
    elif symbols:
        variables = {"demo_agent_symbols": list(symbols)}
    return ["--extra-vars", json.dumps(variables)] if variables else []


def feed_agent(host: Host, feed: Feed | None, symbols: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Send the feed from a housekeeping CPU; returns the exchange simulator's report, as text and data."""
    options = f"--rate {RATE} --no-spin --cpu {HOUSEKEEPING_CPU} --agent-shm {SEGMENT} --timeout {FEED_TIMEOUT_S}"
    if feed is None:
        source = f"--feed generated --messages {GENERATED_MESSAGES}"
        if symbols:
            source += f" --symbol {shlex.quote(','.join(symbols))}"
    else:
        with feed.path.open("rb") as file:
            argv = host.access.argv("root", ["sh", "-c", "cat >/root/feed"])
            subprocess.run(argv, stdin=file, check=True, timeout=120)
        source = "--feed /root/feed"
    report = "/root/exchange.json"
    shown = fetch(host, f"{AGENT} exchange {source} {options} --report {report}", "exchange.txt",
                  ok=(0, 1), timeout=FEED_TIMEOUT_S + 60)  # fmt: skip
    return shown, json.loads(fetch(host, f"cat {report}", "exchange.json"))


def judge(after: dict[str, Any], exchange: dict[str, Any]) -> list[str]:
    """What did not hold, if anything."""
    problems = [f"check after tuning: {finding['id']} is {finding['status']}" for finding in after["findings"]
                if finding["status"] in ("fail", "pending", "volatile", "unknown")]  # fmt: skip
    problems += [f"exchange: {problem}" for problem in exchange["problems"]]
    if not exchange["orders"]["acknowledged"]:
        problems.append("exchange: not one order was sent and acknowledged, so nothing was shown")
    return problems


def read_recording(path: Path, symbols: Sequence[str]) -> Feed:
    """What is sent of a recording, checked before anything is started. Raises RecordingRefused."""
    inventory = yaml.safe_load((ROOT / "inventory/demo/group_vars/trading.yml").read_text(encoding="utf-8"))
    return read_feed(path, LOGS / "feed", symbols, inventory["trading_agent_config"]["strategy"])


def demo(recording: Path | None, symbols: Sequence[str]) -> int:
    progress = Progress()
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    progress.step(f"logs are in {LOGS}")
    feed = None
    if recording is not None:
        feed = read_recording(recording, symbols)
        progress.step(f"{recording.name}: {feed.describe()}")
    progress.step("a stock Debian 12 host, from packages (built once, then cached)")
    with running(HOST, cpus=4, numa=2, memory=3072, progress=progress.step) as host:
        access = [sys.executable, "-m", "testhost", "inventory", HOST]
        hosts = subprocess.run(access, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
        (LOGS / "hosts.yml").write_text(hosts, encoding="utf-8")

        progress.step("hosttune on the untuned host, to remember what it was")
        playbook(progress, "deploy", "--tags", "hosttune")
        fetch(host, "hosttune snapshot -o /root/untuned.json && cat /root/untuned.json", "untuned.json")

        progress.step("playbooks/site.yml: tune, reboot once, verify, deploy the agent, launch")
        playbook(progress, "site", *configure_agent(feed, symbols))

        progress.step("hosttune check, before and after")
        table, after = before_and_after(host)
        progress.show(table)

        progress.step("the agent, as the kernel says it runs")
        placement = fetch(host, "hosttune attest $(systemctl show -P MainPID trading_agent.service)", "attest.txt")
        progress.show(placement)

        name = recording.name if recording else "a generated feed"
        progress.step(f"{name} through the exchange simulator at {RATE} messages/s")
        shown, exchange = feed_agent(host, feed, symbols)
        progress.show(shown)

        inventory = yaml.safe_load((ROOT / "inventory/demo/group_vars/trading.yml").read_text(encoding="utf-8"))
        seen, desk_problems = show_desk(host, inventory["desk_redis_password"], LOGS, progress.step)
        progress.show(seen)
        fetch(host, "journalctl -b --no-pager", "journal.log")

    problems = judge(after, exchange) + desk_problems
    for problem in problems:
        progress.step(f"DID NOT HOLD: {problem}")
    progress.step(f"done; logs are in {LOGS}" if not problems else f"failed; logs are in {LOGS}")
    return 1 if problems else 0


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--feed", type=Path, metavar="PATH",
                        help="a recording: Binance lines, BinaryFILE of ITCH 5.0, CSV; .gz or not (default: generated)"
                        )  # fmt: skip
    parser.add_argument("--symbols", default="", metavar="A,B", help="trade these (default: all that are quoted)")
    options = parser.parse_args()
    feed = options.feed.resolve() if options.feed else None
    symbols = [symbol for symbol in options.symbols.split(",") if symbol]
    if feed is not None and not feed.is_file():
        print_message(f"demo: FEED={options.feed}: there is no such file")
        return 2
    if feed is None and not all(map(is_tradable, symbols)):
        print_message(f"demo: SYMBOLS={options.symbols}: allowed: names of 1 to 8 characters")
        return 2
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return demo(feed, symbols)
    except RecordingRefused as refused:
        print_message(f"demo: FEED={options.feed}: {refused}")
        return 2
    except (DemoError, TesthostError, subprocess.SubprocessError) as error:
        print_message(f"\ndemo: {error}")
        return 1
    except KeyboardInterrupt:
        print_message("\ndemo: interrupted; the virtual machine is stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
