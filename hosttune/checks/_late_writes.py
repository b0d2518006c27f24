"""What a setting is after the services of the next boot have written to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hosttune.checks import _edits
from hosttune.findings import Hop, HopState
from hosttune.host.shell import UNKNOWN
from hosttune.host.start_commands import Write
from hosttune.output import quote_word

#: Why a write in shell may not be done.
IN_CONDITION = "it is in a part of a script that may not be run"


def judge(writes: Sequence[tuple[str, Write]], is_good: Callable[[str], bool], judge_rest: Callable[[], Hop]) -> Hop:
    """Judge what services write, each the value and what says so, in an order that nobody knows; where they write
    nothing, or may write nothing, by what is there without them."""
    if not writes:
        return judge_rest()
    for value, write in writes:
        if value == UNKNOWN:
            reason = write.unread or "written by this service in a way that is not understood"
            return Hop("unknown", reason, write.place)
    states: set[HopState] = {"ok" if is_good(value) else "bad" for value, _ in writes}
    if len(states) > 1:
        return Hop("unknown", "services write different values", writes[0][1].place)
    hop = Hop(states.pop(), writes[0][0], writes[0][1].place)
    # What is wrong under a condition is wrong: the condition holds on the host that it was written for.
    doubts = [write.doubt or (IN_CONDITION if write.maybe and hop.state == "ok" else "") for _, write in writes]
    if not all(doubts):
        return hop
    rest = judge_rest()
    if rest.state != "unknown" and (rest.state == "ok") == (hop.state == "ok"):
        return rest  # with the service or without it
    return Hop("unknown", f"{hop.value}, or not: {doubts[0]}", hop.source)


def advise(hop: Hop, writes: Sequence[Write], what: str) -> list[str]:
    """Returns what to do about services of which it is not known what they write, or whether; nothing for any other
    hop."""
    places = [each.place for each in writes if each.place == hop.source and not each.unread]
    if hop.state != "unknown" or not places:
        return []
    return [
        f"# {quote_word(places[0])} may write to {quote_word(what)} at boot: have it write what is wanted, or nothing"
    ]


def write_fix(write: Write, expressions: Sequence[str], what: str) -> str:
    """Returns what keeps a service, or /etc/rc.local, from a write: what else the service does goes on. `expressions`:
    those of sed that take it out of a file; `what` says in words what that is."""
    if write.place.rpartition(":")[2].isdigit():  # a line that says nothing else
        return _edits.remove_line(write.place)
    if write.alone and write.unit.endswith(".service"):
        return f"systemctl disable {quote_word(write.unit)}"
    unit, _, script = write.place.removesuffix(")").partition(" (")
    file = script or unit
    if not script and write.unit.endswith(".service") and not file.startswith("/etc/"):
        return f"systemctl edit --full {quote_word(write.unit)}  # take out what writes to {what}"
    edits = " ".join(f"-e {quote_word(each)}" for each in expressions) if len(expressions) > 1 else ""
    return f"sed -i --follow-symlinks {edits or quote_word(expressions[0])} {quote_word(file)}"
