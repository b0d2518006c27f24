"""The command `agent`. Arguments only: each command imports what it needs when it runs."""

import argparse
import os
import sys
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


def _count(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number above 0")


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="agent", description="A compiled trading agent, and the exchange to try it on.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run an engine until SIGTERM")
    run.add_argument("config", type=Path, help="agent.toml")
    run.add_argument("--once", action="store_true", help="end when the exchange ends its session")
    run.add_argument("--format", choices=("text", "json"), default="text", help="of the summary at the end")

    stats = commands.add_parser("stats", help="print an engine's counters and latencies, running or not")
    stats.add_argument("agent", nargs="?", help="engine name or path of its segment (default: the only one)")
    stats.add_argument("--format", choices=("text", "json"), default="text")

    warm = commands.add_parser("warm", help="compile strategies into the cache, so that `run` starts fast")
    warm.add_argument("--config", type=Path, help="take strategy and cache directory from this agent.toml")
    warm.add_argument("--cache-dir", default="", help="default: ~/.cache/hosttune-agent")
    warm.add_argument("strategy", nargs="*", help="default: all the built-in ones")

    ex = commands.add_parser("exchange", help="simulate the exchange: send a feed, take orders, measure")
    ex.add_argument(
        "--feed", required=True, metavar="PATH|generated", help="a Binance recording (.gz too), or generated"
    )
    ex.add_argument("--feed-to", type=_endpoint, default=("127.0.0.1", 26400), metavar="HOST:PORT")
    ex.add_argument("--listen", type=_endpoint, default=("127.0.0.1", 26401), metavar="HOST:PORT")
    ex.add_argument("--interface", default="", help="send the feed from this interface")
    pace = ex.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=_positive, metavar="N", help="messages a second, evenly (generated: 1000)")
    pace.add_argument("--speed", type=_positive, metavar="X", help="as recorded, X times as fast (recording: 1)")
    pace.add_argument(
        "--lockstep",
        action="store_true",
        help="closed loop: the next message when the agent has counted the last; needs --agent-shm",
    )
    ex.add_argument("--messages", type=_count, metavar="N", help="send the first N (generated: make N, default 10000)")
    ex.add_argument("--seed", type=int, default=1, help="of the generated feed")
    ex.add_argument("--symbol", default="BTCUSDT", help="of the generated feed")
    ex.add_argument("--agent-shm", type=Path, metavar="PATH", help="compare with the agent's own counters")
    ex.add_argument("--login", default="", metavar="USER:PASSWORD", help="accept only this login (default: any)")
    ex.add_argument("--no-spin", action="store_true", help="sleep between ticks: for a CPU that is shared")
    ex.add_argument("--cpu", type=int, help="run on this CPU")
    ex.add_argument(
        "--linger", type=_positive, default=1.0, metavar="S", help="wait for late orders after the last tick"
    )
    ex.add_argument("--wait", type=_positive, default=60.0, metavar="S", help="wait for the agent's login")
    ex.add_argument("--timeout", type=_positive, default=900.0, metavar="S", help="bound of the whole run")
    ex.add_argument("--format", choices=("text", "json"), default="text")
    ex.add_argument("--report", type=Path, metavar="FILE", help="write the JSON report here as well")
    return top


def _run(options: argparse.Namespace) -> int:
    from agent import config, engine, stats

    settings = config.load(options.config)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    segment, why, code = engine.run(settings, once=options.once)
    if code:
        print(f"agent: {why}", file=sys.stderr)
    sys.stdout.write(stats.as_json(segment) if options.format == "json" else stats.as_text(segment))
    return code


def _stats(options: argparse.Namespace) -> int:
    from agent import shm, stats

    segment = shm.read(shm.find(options.agent))
    sys.stdout.write(stats.as_json(segment) if options.format == "json" else stats.as_text(segment))
    return OK


def _warm(options: argparse.Namespace) -> int:
    from agent import config, engine

    directory, names = options.cache_dir, options.strategy
    if options.config:
        settings = config.load(options.config)
        directory = directory or settings.engine.cache_dir
        names = names or [settings.strategy.name]
    sys.stdout.write(engine.warm(directory, names))
    return OK


def _exchange(options: argparse.Namespace) -> int:
    import msgspec

    from agent import exchange, feed

    if options.lockstep and not options.agent_shm:
        raise exchange.ExchangeError("--lockstep: needs --agent-shm PATH")
    if options.feed == "generated":
        messages = feed.generated(options.messages or 10_000, options.seed, options.symbol)
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
            due=exchange.schedule(messages, rate, options.speed),
            pacing=pacing,
            feed_to=options.feed_to,
            listen=options.listen,
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
    names = ("config.ConfigError", "engine.RunError", "strategy.StrategyError", "shm.SegmentError",
             "feed.FeedError", "exchange.ExchangeError")  # fmt: skip
    found = []
    for name in names:
        module, _, attribute = name.partition(".")
        if f"agent.{module}" in sys.modules:
            found.append(getattr(sys.modules[f"agent.{module}"], attribute))
    return tuple(found)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = parser().parse_args(argv)
    command = {"run": _run, "stats": _stats, "warm": _warm, "exchange": _exchange}[options.command]
    try:
        return command(options)
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(f"agent: {error}", file=sys.stderr)
        return USAGE
