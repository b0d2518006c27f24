"""What a start puts in force before the loop begins: the journal's positions, open orders, and decisions (limits)."""

import time
from typing import Any

from agent import limits
from agent.engine.errors import RunError
from agent.journal import _record
from agent.journal.rebuild import Decision, State
from agent.journal.record import name_user
from agent.shm import _segment
from agent.shm.segment import Segment


def restore_state(engine: Any, state: State) -> None:
    """Give the engine what the journal says. Raises RunError for what no engine can have: two open orders whose numbers
    are 65,536 apart, say."""
    try:
        engine.restore(
            reference=state.reference,
            positions=sorted(state.positions.items()),
            open_orders=[
                (o.id, o.symbol, o.side, o.leaves, o.price, o.tag, o.original, o.filled, o.accepted)
                for o in state.open_orders.values()
            ],
            session=state.session,
            sequence=state.sequence,
            over=state.over,
            executions=state.executions,
            contradicted=state.contradicted,
            records=state.records,
            today=state.today,
            done=state.done,
        )
    except ValueError as error:
        raise RunError(f"journal: {error}") from None


def restore_limits(
    engine: Any, state: State, left: Segment | None, configured: dict[str, int], name: str, *, unread: bool = False
) -> list[str]:
    """Put the journal's decisions about limits in force, behind restore_state(). Returns a line for each of them, and
    for each limit of the engine before that the journal does not have.

    left: the segment of the engine that was there before: a kill that it did not live to journal is in force again.
    unread: there was one that cannot be read, which counts as killed. configured: agent.toml's limits, in the units of
    AGENT_LIMITS. name: what the commands call the engine.
    """
    known = {word: one for word, one in state.limits.items() if word in _segment.limits()}
    killed = unread or (left is not None and bool(left.limits["kill"]))
    nobody = _record.who["unknown"]
    by = (left.request.uid & nobody, left.request.login & nobody) if left else (nobody, nobody)
    engine.restore_limits(
        killed=killed, uid=by[0], login=by[1], **{word: decision.value for word, decision in known.items()}
    )
    lines = [f"the journal has a decision about the limit {word}, which this agent does not have: it is not in force"
             for word in state.limits.keys() - known.keys()]  # fmt: skip
    if killed or "kill" in known:
        who = "in the last moment of the engine that was here before"
        if "kill" in known:
            who = _describe(known["kill"])
        elif unread:
            who = "since this agent cannot read the segment of the engine that was here before, whose switch may be on"
        lines.append(f"killed {who}: no order passes until `agent resume {name}`")
    defaults = dict.fromkeys(_segment.limits(), 0) | configured
    return lines + _describe_changes(known, defaults, name) + _describe_lost(known, defaults, left, name)


def _describe_changes(known: dict[str, Decision], configured: dict[str, int], name: str) -> list[str]:
    """Returns a line for each limit that is not agent.toml's, but for the kill switch."""
    now = configured | {word: decision.value for word, decision in known.items()}
    ours, theirs = limits.from_words(now), limits.from_words(configured)
    lines = []
    for limit, words in limits.find_changes(configured, now).items():
        last = max((known[word] for word in words if word in known), key=lambda decision: decision.time_ns)
        if limit != "kill":
            lines.append(
                f"limit {limit} is {limits.show_value(ours[limit])}, set {_describe(last)}; agent.toml says "
                f"{limits.show_value(theirs[limit])}; `agent limits {name} --reset {limit}` takes agent.toml's"
            )
    return lines


def _describe_lost(
    known: dict[str, Decision], configured: dict[str, int], left: Segment | None, name: str
) -> list[str]:
    """Returns a line for each limit that was changed in the engine before and that no decision of the journal is about:
    the journal was moved away, say."""
    if left is None:
        return []
    now = configured | {word: decision.value for word, decision in known.items()}
    lost = {word for word, value in left.limits.items() if value != left.configured[word] and word not in known}
    ours, theirs = limits.from_words(now), limits.from_words(left.limits)
    return [
        f"limit {limit} was {limits.show_value(theirs[limit])} in the engine that was here before, and the journal "
        f"does not have that: it is {limits.show_value(ours[limit])} now; `agent limits {name} --set "
        f"{limit}={theirs[limit]:.15g}` sets it again"
        for limit, words in limits.find_changes(left.limits, now).items()
        if limit != "kill" and lost.intersection(words)
    ]


def _describe(decision: Decision) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(decision.time_ns // 1_000_000_000))
    return f"by {name_user(decision.uid, decision.login)} at {at}Z"
