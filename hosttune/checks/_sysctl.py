"""One sysctl key as hops and as a finding, for every section that sets some."""

from __future__ import annotations

from hosttune.findings import READ_IT, Finding, Hop, HopName
from hosttune.hops import build_finding, judge_fact
from hosttune.host import sysctl
from hosttune.host.root import Fact
from hosttune.host.sysctl import Assignment, Sysctls
from hosttune.output import quote_word

Value = int | str | list[int]

BOOT_SOURCE = "sysctl.d"


def show_value(value: Value) -> str:
    """Returns the value as it is written to a file."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def match_values(wanted: Value, found: str) -> bool:
    """Compare word by word, numbers as numbers: `4096 87380` is what the kernel shows with tabs."""
    left, right = show_value(wanted).split(), found.split()
    return len(left) == len(right) and all(map(_match_words, left, right))


def judge_hops(key: str, wanted: Value, facts: Sysctls) -> dict[HopName, Hop]:
    """Returns the hops `persisted` (what the next boot sets) and `runtime` of one key."""
    runtime = facts.running[key]
    return {
        "persisted": _judge_persisted(key, wanted, facts),
        "runtime": judge_fact(
            runtime, lambda found: match_values(wanted, found), lambda found: " ".join(found.split())
        ),
    }


def check_key(id: str, key: str, wanted: Value, facts: Sysctls, *, why: str, file: str) -> Finding:
    """Returns the finding on one key; `file` is the sysctl.d file that the fix proposes if no file sets it."""
    found = judge_hops(key, wanted, facts)
    runtime = found["runtime"]
    words = "the kernel has no such key" if runtime.state == "absent" else runtime.value
    return build_finding(id, wanted, found, found=words, why=why, fix=_write_fix(key, wanted, found, file))


def _judge_persisted(key: str, wanted: Value, facts: Sysctls) -> Hop:
    """What `sysctl --system` would set counts as well: it must not undo what the boot did."""
    boot = _judge_lines(key, wanted, facts.boot)
    manual = _judge_lines(key, wanted, facts.manual)
    return manual if boot.state == "ok" and manual.state in ("bad", "unknown") else boot


def _judge_lines(key: str, wanted: Value, lines: Fact[list[Assignment]]) -> Hop:
    if lines.state == "unreadable":
        return Hop("unknown", lines.reason, lines.source)
    line = sysctl.find_winner(lines.value or [], key)
    if line is None:
        return Hop("absent", None, BOOT_SOURCE)
    value = str(line.value)
    if match_values(wanted, value):
        return Hop("ok", value, line.place)
    hidden = [each.place for each in _find_good(key, wanted, lines.value or [])]
    return Hop("bad", f"{value} (overrules {', '.join(hidden)})" if hidden else value, line.place)


def _find_good(key: str, wanted: Value, lines: list[Assignment]) -> list[Assignment]:
    """Returns lines that ask for what is wanted, for the report of who shadows them."""
    name = sysctl.normalise_key(key)
    return [line for line in lines if line.key == name and line.value is not None and match_values(wanted, line.value)]


def _write_fix(key: str, wanted: Value, found: dict[HopName, Hop], file: str) -> str:
    if found["runtime"].state == "absent":
        return f"take {quote_word(key)} out of the profile, or boot a kernel or load the module that has it"
    value = show_value(wanted)
    line = f"{key} = {value}"
    lines = []
    if found["persisted"].state == "absent":
        lines.append(f"echo {quote_word(line)} >> {file}")
    elif found["persisted"].state == "bad":
        lines.append(f"write {quote_word(line)} at {quote_word(found['persisted'].source)}, or remove that line")
    if found["runtime"].state == "bad":
        lines.append(f"sysctl -w {quote_word(key)}={quote_word(value)}")
    return "\n".join(lines) or READ_IT


def _match_words(left: str, right: str) -> bool:
    return left == right or _parse_number(left) == _parse_number(right) is not None


def _parse_number(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None
