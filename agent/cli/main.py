"""The command `agent`. Arguments only: each command imports what it needs when it runs."""

import argparse
import functools
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

#: Exit codes: fine; it ran and something was wrong; arguments or configuration. `run` has one more, 4: the
#: connection to the exchange was lost, which starting again may repair.
OK, FAILED, USAGE = 0, 1, 2


def _endpoint(text: str) -> tuple[str, int]:
    import ipaddress

    host, _, port = text.rpartition(":")
    try:
        if not 1 <= int(port) <= 65535:
            raise ValueError
        return str(ipaddress.IPv4Address(host)), int(port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: ADDRESS:PORT, such as 127.0.0.1:26400") from None


def _positive(text: str) -> float:
    try:
        value = float(text)
        if 0 < value < float("inf"):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a number above 0")


def _share(text: str) -> float:
    try:
        value = float(text)
        if 0 <= value < 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a share from 0 and below 1")


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if number.isdigit() and count.isdigit() and int(number) < int(count) <= 256:
        return int(number), int(count)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: I/N, I from 0 and below N, such as 0/2")


def _setting(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if name and value.isdigit():
        return name, int(value)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: LIMIT=NUMBER, a whole number from 0")


def _count(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number above 0")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument("agent", nargs="?", help="engine name or path of its segment (default: the only one)")


def _run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", type=Path, help="agent.toml")
    command.add_argument("--once", action="store_true", help="end when the exchange ends its session")
    command.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="trade symbols I, I+N, ... only")
    command.add_argument("--format", choices=("text", "json"), default="text", help="of the summary at the end")


def _limits_arguments(command: argparse.ArgumentParser) -> None:
    _add_engine(command)
    command.add_argument("--set", action="append", default=[], type=_setting, metavar="LIMIT=NUMBER")


def _journal_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, help="NAME.journal")
    command.add_argument("--format", choices=("text", "json"), default="text")


def _replay_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, help="Nasdaq BinaryFILE of ITCH 5.0, Binance JSON lines or CSV; .gz too")
    command.add_argument("--strategy", default="ema_cross", metavar="NAME")
    command.add_argument("--symbols", default="", metavar="A,B", help="only these (default: all that the file has)")
    command.add_argument("--fast", type=_positive, default=10.0, metavar="N", help="period, in book events")
    command.add_argument("--slow", type=_positive, default=50.0, metavar="N")
    command.add_argument("--size", type=_count, default=1, metavar="N", help="whole units of an order")
    command.add_argument("--cache-dir", default="", help="of compiled strategies (default: ~/.cache/hosttune-agent)")
    command.add_argument("--format", choices=("text", "json"), default="text")


def _stats_arguments(command: argparse.ArgumentParser) -> None:
    _add_engine(command)
    command.add_argument("--format", choices=("text", "json", "prometheus"), default="text")


def _top_arguments(command: argparse.ArgumentParser) -> None:
    _add_engine(command)
    command.add_argument("--interval", type=_positive, default=1.0, metavar="S", help="seconds between frames")
    command.add_argument("--count", type=_count, metavar="N", help="end after N frames")


def _var_arguments(command: argparse.ArgumentParser) -> None:
    _add_engine(command)
    command.add_argument("--volatility", type=_positive, required=True, metavar="X", help="a year's, as a share: 0.35")
    command.add_argument("--correlation", type=_share, default=0.0, metavar="X", help="of any two symbols (default 0)")
    command.add_argument("--days", type=_positive, default=1.0, metavar="N", help="trading days (default 1)")
    command.add_argument("--confidence", type=_share, default=0.99, metavar="P")
    command.add_argument("--paths", type=_count, default=100_000, metavar="N")
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--format", choices=("text", "json"), default="text")


def _venues_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--from", dest="start", metavar="NAME", help="only pairs from here")
    command.add_argument("--to", dest="end", metavar="NAME", help="only pairs to here")
    command.add_argument("--file", type=Path, help="NAME,CITY,VENUES,LATITUDE,LONGITUDE lines (default: the package's)")
    command.add_argument("--format", choices=("text", "json"), default="text")


def _warm_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, help="take strategy and cache directory from this agent.toml")
    command.add_argument("--cache-dir", default="", help="default: ~/.cache/hosttune-agent")
    command.add_argument("strategy", nargs="*", help="default: all the built-in ones")


def _exchange_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--feed", required=True, metavar="PATH|generated", help="a recording (Binance lines, BinaryFILE, CSV; .gz too)"
    )
    command.add_argument(
        "--generate", choices=("binance", "itch", "csv"), default="binance", help="format of `generated`"
    )
    command.add_argument("--feed-to", type=_endpoint, default=("127.0.0.1", 26400), metavar="HOST:PORT")
    command.add_argument("--listen", type=_endpoint, default=("127.0.0.1", 26401), metavar="HOST:PORT")
    command.add_argument("--feed-b", type=_endpoint, metavar="HOST:PORT", help="send the same packets here as well")
    command.add_argument(
        "--request-listen", type=_endpoint, metavar="HOST:PORT", help="retransmit here what is asked for"
    )
    command.add_argument("--interface", default="", help="send the feed from this interface")
    command.add_argument("--per-datagram", type=_count, default=1, metavar="N", help="messages in one packet, at most")
    command.add_argument("--burst", type=_count, default=1, metavar="N", help="with --rate: N messages at once")
    for name, text in (("drop", "lost"), ("duplicate", "sent twice"), ("reorder", "swapped with the next")):
        command.add_argument(
            f"--{name}", type=_share, default=0.0, metavar="P", help=f"share of each line's packets {text}"
        )
    command.add_argument("--no-match", action="store_true", help="only acknowledge orders (default: fill what crosses)")
    command.add_argument("--reject", type=_count, default=0, metavar="N", help="reject each N-th order")
    command.add_argument(
        "--disconnect-after", type=_count, default=0, metavar="N", help="cut the link once, after N orders"
    )
    command.add_argument("--reconnect", type=_positive, default=0.0, metavar="S",
                    help="wait so long for another login after a disconnect (default: it ends the run)")  # fmt: skip
    command.add_argument("--state", type=Path, metavar="FILE", help="keep the order session here, over restarts")
    command.add_argument("--samples", type=Path, metavar="FILE.npy", help="write each order's stamps")
    pace = command.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=_positive, metavar="N", help="messages a second, evenly (generated: 1000)")
    pace.add_argument("--speed", type=_positive, metavar="X", help="as recorded, X times as fast (recording: 1)")
    pace.add_argument(
        "--lockstep",
        action="store_true",
        help="closed loop: the next message when the agent has counted the last; needs --agent-shm",
    )
    command.add_argument(
        "--messages", type=_count, metavar="N", help="send the first N (generated: make N, default 10000)"
    )
    command.add_argument("--seed", type=int, default=1, help="of the generated feed, and of the faults")
    command.add_argument("--symbol", default="BTCUSDT", metavar="A,B", help="symbols of the generated feed")
    command.add_argument("--agent-shm", type=Path, metavar="PATH", help="compare with the agent's own counters")
    command.add_argument("--login", default="", metavar="USER:PASSWORD", help="accept only this login (default: any)")
    command.add_argument("--no-spin", action="store_true", help="sleep between ticks: for a CPU that is shared")
    command.add_argument("--cpu", type=int, help="run on this CPU")
    command.add_argument(
        "--linger", type=_positive, default=1.0, metavar="S", help="wait for late orders after the last tick"
    )
    command.add_argument("--wait", type=_positive, default=60.0, metavar="S", help="wait for the agent's login")
    command.add_argument("--timeout", type=_positive, default=900.0, metavar="S", help="bound of the whole run")
    command.add_argument("--format", choices=("text", "json"), default="text")
    command.add_argument("--report", type=Path, metavar="FILE", help="write the JSON report here as well")


def _run(options: argparse.Namespace) -> int:
    gc.disable()  # hardly anything that a start makes is garbage, and looking for it takes time
    from agent import config
    from agent.engine import run as engine
    from agent.monitor import stats

    settings = config.load(options.config)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    segment, why, code = engine.run(settings, once=options.once, shard=engine.Shard(*options.shard))
    if code:
        print(f"agent: {why}", file=sys.stderr)
    sys.stdout.write(stats.as_json(segment) if options.format == "json" else stats.as_text(segment))
    return code


def _stats(options: argparse.Namespace) -> int:
    from agent.monitor import stats
    from agent.shm import segment as shm

    path = shm.find(options.agent)
    segment = shm.read(path)
    if options.format == "prometheus":
        try:
            from agent.monitor import prometheus
        except ModuleNotFoundError:
            print("agent: --format prometheus needs the package prometheus-client (hosttune[agent])", file=sys.stderr)
            return USAGE
        sys.stdout.write(prometheus.as_text(segment, path.name.removeprefix(shm.PREFIX)))
        return OK
    sys.stdout.write(stats.as_json(segment) if options.format == "json" else stats.as_text(segment))
    return OK


def _top(options: argparse.Namespace) -> int:
    from agent.monitor import top
    from agent.shm import segment as shm

    return top.run(shm.find(options.agent), options.interval, options.count)


def _limits(options: argparse.Namespace) -> int:
    from agent.shm import segment as shm

    path = shm.find(options.agent)
    if options.set:
        shm.set_limits(path, dict(options.set))
    for name, value in shm.read(path).limits.items():
        print(f"{name:<18}{value:>20,}")
    return OK


def _switch(options: argparse.Namespace) -> int:
    from agent.shm import segment as shm

    path = shm.find(options.agent)
    shm.set_limits(path, {"kill": 1 if options.command == "kill" else 0})
    segment = shm.read(path)
    print(f"{path}: kill {segment.limits['kill']}, open orders {segment.counters['orders_open']}")
    return OK


def _journal(options: argparse.Namespace) -> int:
    from agent.journal import file as journal

    sys.stdout.write(journal.as_json(options.file) if options.format == "json" else journal.as_text(options.file))
    return OK


def _replay(options: argparse.Namespace) -> int:
    import msgspec

    from agent.engine import run as engine

    engine.use_cache(options.cache_dir)
    from agent.replay import run as replay

    symbols = tuple(s for s in options.symbols.split(",") if s)
    data = replay.run(
        options.file, options.strategy, symbols=symbols, fast=options.fast, slow=options.slow, size=options.size
    )
    if options.format == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
    else:
        sys.stdout.write(replay.as_text(data))
    return OK


def _var(options: argparse.Namespace) -> int:
    import msgspec

    from agent.engine import run as engine
    from agent.shm import segment as shm

    segment = shm.read(shm.find(options.agent))
    engine.use_cache("")
    from agent.analysis import value_at_risk as risk_report

    data = risk_report.report(
        segment,
        volatility=options.volatility,
        correlation=options.correlation,
        days=options.days,
        confidence=options.confidence,
        paths=options.paths,
        seed=options.seed,
    )
    if options.format == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
    else:
        sys.stdout.write(risk_report.as_text(data))
    return OK


def _venues(options: argparse.Namespace) -> int:
    import msgspec

    from agent.analysis import venues

    known = venues.read(options.file or venues.FILE)
    rows = venues.pairs(known, options.start, options.end)
    if options.format == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n")
    else:
        sys.stdout.write(venues.as_text(known, rows))
    return OK


def _warm(options: argparse.Namespace) -> int:
    from agent import config
    from agent.engine import run as engine

    directory, names = options.cache_dir, options.strategy
    if options.config:
        settings = config.load(options.config)
        directory = directory or settings.engine.cache_dir
        names = names or [settings.strategy.name]
    sys.stdout.write(engine.warm(directory, names))
    return OK


def _exchange(options: argparse.Namespace) -> int:
    import msgspec

    from agent.exchange import feed
    from agent.exchange import simulator as exchange

    if options.lockstep and not options.agent_shm:
        raise exchange.ExchangeError("--lockstep: needs --agent-shm PATH")
    if options.feed == "generated":
        messages = feed.generated(options.messages or 10_000, options.seed, options.symbol.split(","), options.generate)
        rate = options.rate if options.rate or options.speed else 1000.0
    else:
        messages = feed.recording(Path(options.feed), options.messages)
        rate = options.rate
    if options.cpu is not None:
        try:
            os.sched_setaffinity(0, {options.cpu})
        except (OSError, ValueError):
            raise exchange.ExchangeError(
                f"--cpu: found {options.cpu}, allowed: {sorted(os.sched_getaffinity(0))}"
            ) from None
    if options.lockstep:
        pacing = "each message when the agent has read the last"
    elif rate:
        pacing = f"{rate:g} messages/s"
    else:
        pacing = f"as recorded x {options.speed or 1:g}"
    username, _, password = options.login.partition(":")
    data = exchange.run(
        exchange.Plan(
            feed=messages,
            due=exchange.schedule(messages, rate, options.speed, options.burst),
            pacing=pacing,
            feed_to=options.feed_to,
            feed_b=options.feed_b,
            request=options.request_listen,
            listen=options.listen,
            per_datagram=options.per_datagram,
            match=not options.no_match,
            reject=options.reject,
            disconnect_after=options.disconnect_after,
            reconnect=options.reconnect,
            drop=options.drop,
            duplicate=options.duplicate,
            reorder=options.reorder,
            seed=options.seed,
            state=options.state,
            samples=options.samples,
            interface=options.interface,
            lockstep=options.lockstep,
            spin=not options.no_spin,
            linger=options.linger,
            login=options.wait,
            timeout=options.timeout,
            agent_shm=options.agent_shm,
            username=username,
            password=password,
        )
    )
    text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"
    if options.report:
        try:
            options.report.write_text(text)
        except OSError as error:
            raise exchange.ExchangeError(f"--report {options.report}: {error.strerror}") from None
    sys.stdout.write(text if options.format == "json" else exchange.as_text(data))
    return OK if data["ok"] else FAILED


def _expected_errors() -> tuple[type[Exception], ...]:
    """The error classes of the modules that were imported: each is a message for the user."""
    names = ("config.ConfigError", "engine.run.RunError", "strategy.loader.StrategyError", "shm.segment.SegmentError",
             "journal.file.JournalError", "protocols.recording.RecordingError", "exchange.feed.FeedError",
             "exchange.simulator.ExchangeError", "analysis.venues.VenuesError",
             "analysis.value_at_risk.RiskError")  # fmt: skip
    found = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        if f"agent.{module}" in sys.modules:
            found.append(getattr(sys.modules[f"agent.{module}"], attribute))
    return tuple(found)


#: By name: help, its arguments, what it does.
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]] = {
    "run": ("run an engine until SIGTERM", _run_arguments, _run),
    "limits": ("show or change a running engine's risk limits", _limits_arguments, _limits),
    "kill": ("stop an engine's orders at once, and cancel the open ones", _add_engine, _switch),
    "resume": ("let an engine's orders pass again after `kill`", _add_engine, _switch),
    "journal": ("print an engine's journal, and what it adds up to", _journal_arguments, _journal),
    "replay": ("run a recording through the engine's path, without sockets", _replay_arguments, _replay),
    "stats": ("print an engine's counters and latencies, running or not", _stats_arguments, _stats),
    "top": ("watch an engine: rates, latencies, positions", _top_arguments, _top),
    "var": ("value at risk of an engine's position, by simulation", _var_arguments, _var),
    "venues": ("distances between trading venues, and light's latency floor", _venues_arguments, _venues),
    "warm": ("compile strategies into the cache, so that `run` starts fast", _warm_arguments, _warm),
    "exchange": ("simulate the exchange: send a feed, take orders, measure", _exchange_arguments, _exchange),
}


def parser(only: str = "") -> argparse.ArgumentParser:
    """The arguments of every command, or only of the one that is asked for: a start does not wait for the others."""
    columns = os.environ.get("COLUMNS", "")
    # Without a width argparse imports shutil to ask the terminal, for each argument.
    style = functools.partial(argparse.HelpFormatter, width=max(60, int(columns)) if columns.isdigit() else 100)
    top = argparse.ArgumentParser(
        prog="agent", description="A compiled trading agent, and the exchange to try it on.", formatter_class=style
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=top.prog)
    for name in [only] if only in _COMMANDS else _COMMANDS:
        text, add_arguments, _ = _COMMANDS[name]
        add_arguments(commands.add_parser(name, help=text, formatter_class=style))
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    options = parser(words[0] if words else "").parse_args(words)
    try:
        return _COMMANDS[options.command][2](options)
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(f"agent: {error}", file=sys.stderr)
        return USAGE
