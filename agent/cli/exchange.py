"""`agent exchange`: simulate the exchange: send a feed, take orders, measure."""

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.options import parse_count, parse_endpoint, parse_positive, parse_seed, parse_share
from agent.errors import FAILED, OK, UsageError
from hosttune.report import formats

if TYPE_CHECKING:
    from agent.exchange.feed import Feed
    from agent.exchange.simulator import Plan

#: The value of `--feed` for a feed that is made up; how many messages it has, and how many of them go out in a second.
GENERATED, MESSAGES, RATE = "generated", 10_000, 1000.0
#: Where agent/example.toml has its agent look.
FEED_TO, LISTEN = "127.0.0.1:26400", "127.0.0.1:26401"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    _add_feed(command.add_argument_group("the feed"))
    _add_pace(command.add_argument_group("the feed's pace"))
    _add_faults(command.add_argument_group("the feed's faults"))
    _add_orders(command.add_argument_group("order entry"))
    _add_run(command.add_argument_group("the run"))
    _add_results(command.add_argument_group("the results"))


def _add_feed(group: Any) -> None:
    from agent.exchange.feed import FORMATS

    group.add_argument(
        "--feed", required=True, metavar="PATH|generated", help="a recording (Binance lines, BinaryFILE, CSV; .gz too)"
    )
    group.add_argument(
        "--generate", choices=list(FORMATS), default="binance", help="format of `generated` (default %(default)s)"
    )
    group.add_argument(
        "--symbol", default="BTCUSDT", metavar="A,B", help="symbols of the generated feed (default %(default)s)"
    )
    group.add_argument(
        "--messages", type=parse_count, metavar="N", help=f"send the first N (generated: make N, default {MESSAGES})"
    )
    group.add_argument(
        "--seed", type=parse_seed, default=1, help="of the generated feed, and of the faults (default %(default)s)"
    )
    group.add_argument(
        "--feed-to",
        type=parse_endpoint,
        default=FEED_TO,
        metavar="ADDRESS:PORT",
        help="send the packets here, where the agent's feed.address and feed.port are (default %(default)s)",
    )
    group.add_argument(
        "--feed-b", type=parse_endpoint, metavar="ADDRESS:PORT", help="send the same packets here as well"
    )
    group.add_argument(
        "--request-listen", type=parse_endpoint, metavar="ADDRESS:PORT", help="retransmit here what is asked for"
    )
    group.add_argument("--interface", default="", help="send the feed from this interface")
    group.add_argument(
        "--per-datagram",
        type=parse_count,
        default=1,
        metavar="N",
        help="messages in one packet, at most (default %(default)s)",
    )


def _add_pace(group: Any) -> None:
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--rate", type=parse_positive, metavar="N", help=f"messages a second, evenly (generated: {RATE:g})"
    )
    pace.add_argument("--speed", type=parse_positive, metavar="X", help="as recorded, X times as fast (recording: 1)")
    pace.add_argument(
        "--lockstep",
        action="store_true",
        help="closed loop: the next message when the agent has counted the last; needs --agent-shm",
    )
    group.add_argument("--burst", type=parse_count, default=1, metavar="N", help="with --rate: N messages at once")


def _add_faults(group: Any) -> None:
    for name, text in (("drop", "lost"), ("duplicate", "sent twice"), ("reorder", "swapped with the next")):
        group.add_argument(
            f"--{name}", type=parse_share, default=0.0, metavar="P", help=f"share of each line's packets {text}"
        )


def _add_orders(group: Any) -> None:
    group.add_argument(
        "--listen",
        type=parse_endpoint,
        default=LISTEN,
        metavar="ADDRESS:PORT",
        help="take orders here, the agent's exchange.address and exchange.port (default %(default)s)",
    )
    group.add_argument("--login", default="", metavar="USER:PASSWORD", help="accept only this login (default: any)")
    group.add_argument(
        "--exchange-symbols",
        type=parse_exchange_symbols,
        default={},
        metavar="FEED=NAME,...",
        help="names in orders, 8 characters, of symbols that the feed calls by another or longer name",
    )
    group.add_argument("--no-match", action="store_true", help="only acknowledge orders (default: fill what crosses)")
    group.add_argument("--reject", type=parse_count, default=0, metavar="N", help="reject each N-th order")
    group.add_argument(
        "--disconnect-after", type=parse_count, default=0, metavar="N", help="cut the link once, after N orders"
    )
    group.add_argument(
        "--reconnect",
        type=parse_positive,
        default=0.0,
        metavar="S",
        help="wait so long for another login after a disconnect (default: it ends the run)",
    )
    group.add_argument("--state", type=Path, metavar="FILE", help="keep the order session here, over restarts")


def _add_run(group: Any) -> None:
    group.add_argument("--no-spin", action="store_true", help="sleep between ticks: for a CPU that is shared")
    group.add_argument("--cpu", type=parse_cpu, help="run on this CPU")
    group.add_argument(
        "--wait",
        type=parse_positive,
        default=60.0,
        metavar="S",
        help="wait for the agent's login (default %(default)s)",
    )
    group.add_argument(
        "--linger",
        type=parse_positive,
        default=1.0,
        metavar="S",
        help="wait for late orders after the last tick (default %(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=parse_positive,
        default=900.0,
        metavar="S",
        help="bound of the whole run (default %(default)s)",
    )


def _add_results(group: Any) -> None:
    group.add_argument("--agent-shm", type=Path, metavar="PATH", help="compare with the agent's own counters")
    group.add_argument("--samples", type=Path, metavar="FILE.npy", help="write each order's stamps")
    group.add_argument("--report", type=Path, metavar="FILE", help="write the JSON report here as well")
    formats.add_argument(group)


def parse_cpu(text: str) -> int:
    """Returns the number of a CPU that this process may run on."""
    allowed = sorted(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit() and text in map(str, allowed)):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {', '.join(map(str, allowed))}")
    return int(text)


def parse_exchange_symbols(text: str) -> dict[str, str]:
    """Returns names in orders by names in the feed, of FEED=NAME,..."""
    found = dict[str, str]()
    for part in text.split(","):
        symbol, _, name = part.partition("=")
        if not re.fullmatch(r"[!-~]{1,8}", name) or not symbol or symbol in found:
            raise argparse.ArgumentTypeError(
                f"found {text!r}, allowed: FEED=NAME,..., a name of 1 to 8 printable ASCII characters, each FEED once"
            )
        found[symbol] = name
    return found


def run(arguments: argparse.Namespace) -> int:
    """Run the simulator and print its report. Returns OK, or FAILED for a run with problems. Raises AgentError."""
    from agent.cli.output import Result, format_document, print_document
    from agent.exchange import simulator

    if arguments.lockstep and not arguments.agent_shm:
        raise UsageError("--lockstep: needs --agent-shm PATH")
    plan = _make_plan(arguments, _read_feed(arguments))
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    data = simulator.run(plan)
    result = Result(data, simulator.as_text)
    if arguments.report:
        try:
            arguments.report.write_text(format_document(result, "json"))
        except OSError as error:
            raise UsageError(f"--report {arguments.report}: {error.strerror}") from None
    print_document(result, arguments.format)
    return OK if data["ok"] else FAILED


def _read_feed(arguments: argparse.Namespace) -> "Feed":
    from agent.exchange import feed

    if arguments.feed == GENERATED:
        return feed.generated(
            arguments.messages or MESSAGES, arguments.seed, arguments.symbol.split(","), arguments.generate
        )
    return feed.recording(Path(arguments.feed), arguments.messages)


def _make_plan(arguments: argparse.Namespace, feed: "Feed") -> "Plan":
    from agent.exchange import simulator

    rate = arguments.rate
    if arguments.feed == GENERATED and not (rate or arguments.speed):
        rate = RATE
    username, colon, password = arguments.login.partition(":")
    if arguments.login and not (username and colon):
        raise UsageError(f"--login: found {arguments.login!r}, wanted USER:PASSWORD")
    try:
        due = simulator.schedule(feed, rate, arguments.speed, arguments.burst)
    except OverflowError:
        raise UsageError("--rate or --speed: so slow that the feed would take more than 292 years") from None
    return simulator.Plan(
        feed=feed,
        due=due,
        pacing=_describe_pacing(arguments.lockstep, rate, arguments.speed),
        feed_to=arguments.feed_to,
        feed_b=arguments.feed_b,
        request=arguments.request_listen,
        listen=arguments.listen,
        per_datagram=arguments.per_datagram,
        exchange_symbols=arguments.exchange_symbols,
        match=not arguments.no_match,
        reject=arguments.reject,
        disconnect_after=arguments.disconnect_after,
        reconnect=arguments.reconnect,
        drop=arguments.drop,
        duplicate=arguments.duplicate,
        reorder=arguments.reorder,
        seed=arguments.seed,
        state=arguments.state,
        samples=arguments.samples,
        interface=arguments.interface,
        lockstep=arguments.lockstep,
        spin=not arguments.no_spin,
        linger=arguments.linger,
        login=arguments.wait,
        timeout=arguments.timeout,
        agent_shm=arguments.agent_shm,
        username=username,
        password=password,
    )


def _describe_pacing(lockstep: bool, rate: float | None, speed: float | None) -> str:
    """Returns how the feed is paced, in the report's words."""
    if lockstep:
        return "each message when the agent has read the last"
    if rate:
        return f"{rate:g} messages/s"
    return f"as recorded x {speed or 1:g}"
