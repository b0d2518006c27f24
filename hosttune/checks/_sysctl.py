"""One sysctl key as hops and as a finding, for every section that sets some."""

from __future__ import annotations

from hosttune.findings import READ_IT, Finding, Hop, HopName
from hosttune.hops import build_finding, judge_fact
from hosttune.host import sysctl, sysctl_values
from hosttune.host.root import Fact
from hosttune.host.sysctl import Assignment, Sysctls
from hosttune.output import quote_word

Value = int | str | list[int]

BOOT_SOURCE = "sysctl.d"


def show_value(value: Value) -> str:
    """Returns the value as it is written to a file."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def match_values(wanted: Value, found: str) -> bool:
    """Compare word by word what the kernel shows, numbers as numbers: `4096 87380` is shown with tabs."""
    left, right = show_value(wanted).split(), found.split()
    return len(left) == len(right) and all(map(_match_words, left, right))


def judge_hops(key: str, wanted: Value, facts: Sysctls) -> dict[HopName, Hop]:
    """Returns the hops `persisted` (what the next boot sets) and `runtime` of one key."""
    runtime = facts.running[key]
    return {
        "persisted": judge_persisted(key, wanted, facts),
        "runtime": judge_fact(
            runtime, lambda found: match_values(wanted, found), lambda found: " ".join(found.split())
        ),
    }


def check_key(id: str, key: str, wanted: Value, facts: Sysctls, *, why: str, file: str) -> Finding:
    """Returns the finding on one key; `file` is the sysctl.d file that the fix proposes if no file sets it."""
    found = judge_hops(key, wanted, facts)
    runtime = found["runtime"]
    words = "the kernel has no such key" if runtime.state == "absent" else runtime.value
    return build_finding(id, wanted, found, found=words, why=why, fix=write_fix(key, wanted, found, facts, file))


def judge_persisted(key: str, wanted: Value, facts: Sysctls) -> Hop:
    """Returns the hop on what the next boot sets a key to, by the last line that the kernel does not refuse."""
    if facts.boot.state == "unreadable":
        return Hop("unknown", facts.boot.reason, facts.boot.source)
    if facts.boot.state == "absent":
        return Hop("bad", facts.boot.reason, facts.boot.source)
    refused: Assignment | None = None
    for line in sysctl.find_written(facts.boot.value or [], key):
        value = str(line.value)
        taken = _read_value(wanted, value, facts.running.get(key))
        if taken is None:
            refused = refused or line
            continue
        remark = f" (the kernel refuses {refused.value!r} of {refused.place})" if refused else ""
        if match_values(wanted, taken):
            return Hop("ok", f"{value}{remark}", line.place)
        return Hop("bad", f"{value}{_name_hidden(key, wanted, facts, line)}{remark}", line.place)
    if refused:
        return Hop("bad", f"{refused.value}: the kernel refuses this", refused.place)
    volatile = find_good(key, wanted, facts.gone.value or [])
    if volatile:
        return Hop("absent", f"only {volatile[-1].place}, which the next boot does not find", BOOT_SOURCE)
    return Hop("absent", None, BOOT_SOURCE)


def find_good(key: str, wanted: Value, lines: list[Assignment]) -> list[Assignment]:
    """Returns lines that ask for what is wanted."""
    return [line for line in sysctl.find_lines(lines, key) if match_values(wanted, line.value or "")]


def write_fix(key: str, wanted: Value, found: dict[HopName, Hop], facts: Sysctls, file: str) -> str:
    """Returns commands that set a key now and at the next boot, as far as it is not set."""
    if found["runtime"].state == "absent":
        return f"take {quote_word(key)} out of the profile, or boot a kernel or load the module that has it"
    value = show_value(wanted)
    line = f"{key} = {value}"
    lines = []
    if facts.boot.state == "absent":
        lines.append("systemctl unmask systemd-sysctl.service")
        if not find_good(key, wanted, facts.lines.value or []):
            lines.append(f"echo {quote_word(line)} >> {file}")
    elif found["persisted"].state == "absent":
        lines.append(f"echo {quote_word(line)} >> {file}")
    elif found["persisted"].state == "bad":
        lines.append(f"write {quote_word(line)} at {quote_word(found['persisted'].source)}, or remove that line")
    if found["runtime"].state == "bad":
        lines.append(f"sysctl -w {quote_word(key)}={quote_word(value)}")
    return "\n".join(lines) or READ_IT


def _read_value(wanted: Value, value: str, running: Fact[str] | None) -> str | None:
    """Returns what the kernel takes of a line's value, None if it refuses all of it.

    A file whose value is words takes any text as far as we know; one of numbers takes as many as it holds.
    """
    words = show_value(wanted).split()
    if any(sysctl_values.read_number(word) is None for word in words):
        return value
    shown = ((running.value if running is not None else "") or "").split()
    numbers = sysctl_values.read_numbers(value, len(shown) or len(words))
    return None if numbers is None else " ".join(map(str, numbers))


def _name_hidden(key: str, wanted: Value, facts: Sysctls, line: Assignment) -> str:
    hidden = [each.place for each in find_good(key, wanted, facts.lines.value or []) if each != line]
    return f" (overrules {', '.join(hidden)})" if hidden else ""


def _match_words(left: str, right: str) -> bool:
    return left == right or sysctl_values.read_number(left) == sysctl_values.read_number(right) is not None
