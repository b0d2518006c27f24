"""The findings of a run, as data and as text: nothing here reads anything."""

from collections.abc import Sequence
from typing import Any

import msgspec

from agent.exchange.feed import Feed
from agent.exchange.plan import Plan
from agent.exchange.samples import MatchedOrder
from agent.shm.histogram import QUANTILES
from agent.shm.segment import Segment

_ORDER_COUNTS = ("acknowledged", "executions", "canceled", "replaced", "replaces_ignored", "refused_orders", "invalid",
                 "unmatched", "duplicates", "out_of_order")  # fmt: skip
_SESSION_COUNTS = ("logins", "looks", "logins_refused", "disconnects", "replayed", "queries", "sequenced", "last_id")
_FAULT_COUNTS = ("dropped", "duplicated", "swapped", "requests", "retransmitted")
#: Counts that are problems when they are not 0, and how each is put.
_PROBLEM_COUNTS = (
    ("duplicates", "orders came twice (same UserRefNum)"),
    ("out_of_order", "orders out of order"),
    ("unmatched", "orders name no tick of this run"),
    ("invalid", "orders are invalid and were rejected"),
    ("order_overflow", "orders were not recorded: more than eight a message"),
    ("unsent_answer_bytes", "bytes of answers could not be sent"),
    ("other_messages", "messages of a kind the simulator does not serve"),
)
#: The same of the agent's counters.
_AGENT_PROBLEM_COUNTS = ("lost", "kernel_drops", "malformed_datagram", "malformed_truncated", "malformed_json",
                         "malformed_field", "malformed_number", "malformed_type", "malformed_oversized")  # fmt: skip


class Machine(msgspec.Struct):
    """What the run was measured on."""

    host: str
    kernel: str
    cpus: int | None
    cpu: str  # its model
    affinity: list[int]  # CPUs of the simulator
    scheduler: str  # and its scheduling policy


class Outcome(msgspec.Struct):
    """What a run left."""

    counts: dict[str, Any]  # of _simulator.run, and "duplicates"
    orders: Sequence[MatchedOrder]
    lateness: list[int]  # of each packet, in ns
    before: Segment | None  # the agent's segment before the run
    after: Segment | None  # and behind it


def as_data(plan: Plan, outcome: Outcome, machine: Machine) -> dict[str, Any]:
    """Returns the findings as plain data, latencies in microseconds. "ok": there are no "problems"."""
    counts, done = outcome.counts, outcome.counts["ticks_sent"]
    problems = _find_problems(plan, counts)
    agent = _count_agent(outcome)
    if agent is not None:
        problems += _find_agent_problems(agent, counts)
    return {
        "ok": not problems,
        "problems": problems,
        "machine": msgspec.structs.asdict(machine) | {"path": _describe_path(plan)},
        "feed": {"name": plan.feed.name, "messages": len(plan.feed), "types": plan.feed.counts,
                 "excluded": plan.feed.excluded},
        "loop": "closed" if plan.lockstep else "open",
        "pacing": plan.pacing,
        "seconds": round(counts["seconds"], 3),
        "ticks": {"sent": done, "book_and_trade": _count_ticks(plan.feed, done),
                  "send_retries": counts["send_retries"], "refused": counts["feed_refused"]},
        "orders": {key: counts[key] for key in ("orders", *_ORDER_COUNTS)} | {"matched": len(outcome.orders)},
        "session": {key: counts[key] for key in _SESSION_COUNTS},
        "faults": {key: counts[key] for key in _FAULT_COUNTS},
        "generator_lateness_us": percentiles(outcome.lateness),
        "tick_to_order_us": {
            "service": percentiles([order.arrived - order.sent for order in outcome.orders]),
            "response": percentiles([order.arrived - order.intended for order in outcome.orders]),
        },
        "agent": agent,
        "ended": counts["ended"],
    }  # fmt: skip


def percentiles(samples: list[int]) -> dict[str, Any]:
    """Returns exact nearest-rank percentiles of samples in ns, as microseconds; {"count": 0} if there are none."""
    if not samples:
        return {"count": 0}
    ordered = sorted(samples)
    out: dict[str, Any] = {"count": len(ordered), "min": ordered[0] / 1e3}
    for name, share in QUANTILES:
        out[name] = ordered[max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1)] / 1e3
    out["max"] = ordered[-1] / 1e3
    return out


def _find_problems(plan: Plan, counts: dict[str, Any]) -> list[str]:
    """Returns what went wrong, as the simulator saw it."""
    problems = []
    if counts["ended"] != "complete":
        problems.append(f"the run ended early: {counts['ended']}")
    if counts["ticks_sent"] < len(plan.feed):
        problems.append(f"{len(plan.feed) - counts['ticks_sent']} messages were not sent")
    problems += [f"{counts[key]} {text}" for key, text in _PROBLEM_COUNTS if counts[key]]
    return problems


def _count_agent(outcome: Outcome) -> dict[str, int] | None:
    """Returns what the agent counted in the run; None: its segment was not read, or the agent is another one now."""
    before, after = outcome.before, outcome.after
    if before is None or after is None or before.pid != after.pid:
        return None
    agent = {name: n - before.counters[name] for name, n in after.counters.items()}
    agent["receive_buffer"] = after.counters["receive_buffer"]  # a size, no count
    agent["ticks_in"] = agent["book_ticker"] + agent["trade"] + agent["itch"]
    return agent


def _find_agent_problems(agent: dict[str, int], counts: dict[str, Any]) -> list[str]:
    """Returns where the agent's own counts differ from the simulator's."""
    problems = []
    if agent["messages"] != counts["ticks_sent"]:
        problems.append(f"the agent read {agent['messages']} of {counts['ticks_sent']} messages")
    if agent["orders_sent"] != counts["orders"]:
        problems.append(f"the agent sent {agent['orders_sent']} orders, {counts['orders']} arrived")
    if agent["accepted"] != counts["acknowledged"]:
        problems.append(f"the agent read {agent['accepted']} of {counts['acknowledged']} acknowledgements")
    problems += [f"the agent counted {name} {agent[name]}" for name in _AGENT_PROBLEM_COUNTS if agent[name]]
    return problems


def _count_ticks(feed: Feed, done: int) -> int | None:
    """Returns the book tickers and trades among the messages sent; None if only part of the feed was, or its messages
    are not told apart in that way."""
    if feed.format != "binance":
        return None
    return feed.counts.get("bookTicker", 0) + feed.counts.get("trade", 0) if done == len(feed) else None


def _describe_path(plan: Plan) -> str:
    return "loopback" if plan.feed_to[0].startswith("127.") else f"to {plan.feed_to[0]}"


def as_text(data: dict[str, Any]) -> str:
    """Returns the report for people."""
    m, t, o = data["machine"], data["ticks"], data["orders"]
    lines = [
        f"exchange: {data['feed']['name']}, {data['loop']} loop, {data['pacing']}, {data['seconds']:.1f} s, "
        + (data["ended"] if data["ok"] else "NOT OK"),
        f"  machine      {m['host']}, Linux {m['kernel']}, {m['cpus']} x {m['cpu']}, {m['path']}, "
        f"simulator on CPUs {','.join(map(str, m['affinity']))}, SCHED_{m['scheduler'].upper()}",
        "  messages     " + ", ".join(f"{k} {n:,}" for k, n in sorted(data["feed"]["types"].items()))
        + "".join(f"; not sent: {n:,} {k}" for k, n in data["feed"]["excluded"].items()),
        f"  sent         {t['sent']:,} (retried sends {t['send_retries']:,})",
        f"  orders       {o['orders']:,} received, {o['acknowledged']:,} acknowledged, {o['duplicates']:,} doubled, "
        f"{o['unmatched']:,} unmatched, {o['invalid']:,} invalid",
        f"  answers      {o['executions']:,} executions, {o['canceled']:,} cancels, {o['replaced']:,} replaces, "
        f"{o['refused_orders']:,} rejects on purpose; {data['session']['disconnects']:,} disconnects, "
        f"{data['session']['replayed']:,} messages replayed",
    ]  # fmt: skip
    if any(data["faults"].values()):
        lines.append("  faults       " + ", ".join(f"{k} {n:,}" for k, n in data["faults"].items()))
    lines += [
        _format_latency("service", data["tick_to_order_us"]["service"]),
        _format_latency("response", data["tick_to_order_us"]["response"]),
        _format_latency("lateness", data["generator_lateness_us"]),
        "    service: tick's send to order read; response: from the time the tick was due; "
        "lateness: of the simulator's sends",
    ]
    if data["agent"]:
        a = data["agent"]
        lines.append(
            f"  agent        messages {a['messages']:,}, ticks in {a['ticks_in']:,}, lost {a['lost']:,}, "
            f"kernel drops {a['kernel_drops']:,}, orders sent {a['orders_sent']:,}, accepted {a['accepted']:,}"
        )
    lines += [f"  PROBLEM: {p}" for p in data["problems"]]
    return "\n".join(lines) + "\n"


def _format_latency(label: str, row: dict[str, Any]) -> str:
    if not row["count"]:
        return f"  {label:<12} no samples"
    quantiles = " ".join(f"{name} {row[name]:.1f}" for name, _ in QUANTILES)
    return f"  {label:<12} {quantiles} max {row['max']:.1f} us ({row['count']:,} samples)"
