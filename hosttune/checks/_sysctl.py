"""One sysctl key as hops and as a finding, for every section that sets some."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

import msgspec

from hosttune.checks import _desk, _edits, _late_writes, _masks
from hosttune.findings import READ_IT, Finding, Hop, HopName, HopState
from hosttune.hops import build_finding, judge_fact
from hosttune.host import module_names, netconf, start_commands, sysctl_lines, sysctl_values, sysctl_writes, tmpfiles
from hosttune.host.modules import SERVICE as MODULES_SERVICE
from hosttune.host.modules import Modules, find_load
from hosttune.host.root import Fact
from hosttune.host.shell import UNKNOWN
from hosttune.host.sysctl import SERVICE, Sysctls
from hosttune.host.sysctl_lines import Assignment
from hosttune.output import quote_word

Value = int | str | list[int]

BOOT_SOURCE = "sysctl.d"
_NO_ORDER = "tmpfiles.d and sysctl.d are applied in no fixed order"


def show_value(value: Value) -> str:
    """Returns the value as it is written to a file."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def match_values(key: str, wanted: Value, found: str) -> bool:
    """Compare word by word what the kernel shows, numbers as numbers: `4096 87380` is shown with tabs."""
    path = sysctl_lines.normalise_key(key)
    bits = sysctl_values.read_set(path, show_value(wanted))
    if bits is not None:
        return bits == sysctl_values.read_set(path, found)
    left, right = show_value(wanted).split(), found.split()
    return len(left) == len(right) and all(map(_match_words, left, right))


def list_needed(keys: Iterable[str]) -> list[str]:
    """Returns the keys, and those that the kernel goes by as well: of `all`, whether an interface forwards, and those
    that set one of these."""
    needed = dict.fromkeys(keys)
    for path in map(sysctl_lines.normalise_key, list(needed)):
        pair = netconf.find_pair(path)
        if pair is not None:
            needed.update(dict.fromkeys(filter(None, (pair[1], netconf.find_forwarding(path)))))
    effects = map(netconf.find_effect, map(sysctl_lines.normalise_key, list(needed)))
    needed.update(dict.fromkeys(effect.cause for effect in effects if effect is not None))
    return list(needed)


def judge_hops(key: str, wanted: Value, facts: Sysctls, modules: Modules | None = None) -> dict[HopName, Hop]:
    """Returns the hops `persisted` (what the next boot sets) and `runtime` of one key.

    `modules`: for a key that a module makes, which has to be there before sysctls are applied.
    """
    runtime = judge_fact(
        facts.running[key], lambda found: match_values(key, wanted, found), lambda found: " ".join(found.split())
    )
    hops: dict[HopName, Hop] = {"persisted": judge_persisted(key, wanted, facts), "runtime": runtime}
    others = [each for name in list_needed([key])[1:] for each in sysctl_writes.find(facts.services.value or (), name)]
    if others:
        words = f"{others[0].path.replace('/', '.')}, which counts here too, is written by this service"
        hops["persisted"] = Hop("unknown", others[0].unread or words, others[0].place)
        return hops
    pair = netconf.find_pair(sysctl_lines.normalise_key(key))
    number = sysctl_values.read_number(show_value(wanted))
    if pair is not None and number is not None and runtime.state in ("ok", "bad"):
        return _judge_pair(key, number, facts, hops, *pair)
    if hops["persisted"].state == "ok":
        late = find_lateness(key, facts, modules)
        if late.state != "absent":
            state: HopState = "unknown" if late.state == "unreadable" else "bad"
            words = late.reason if state == "unknown" else f"{hops['persisted'].value}: {late.value}"
            hops["persisted"] = Hop(state, words, hops["persisted"].source)
    return hops


def find_lateness(key: str, facts: Sysctls, modules: Modules | None) -> Fact[str]:
    """Returns why a key is not there yet when sysctls are applied at boot, absent if it is there."""
    owner = module_names.find_owner(sysctl_lines.normalise_key(key))
    if owner is None or modules is None:
        return Fact("absent")
    load = find_load(modules, owner)
    if load.state != "absent":
        return Fact("absent") if load.state == "value" else load
    if modules.loaded.value is not None and owner not in modules.loaded.value and facts.running[key].state == "value":
        return Fact("absent")  # it is there and no module made it
    words = f"applied before the module {owner} is there"
    return Fact("value", f"{words}, since {load.reason}" if load.reason else words, load.source)


def check_key(id: str, key: str, wanted: Value, facts: Sysctls, *, why: str, modules: Modules | None = None) -> Finding:
    """Returns the finding on one key; `modules` as for :func:`judge_hops`."""
    found = judge_hops(key, wanted, facts, modules)
    runtime = found["runtime"]
    words = "the kernel has no such key" if runtime.state == "absent" else runtime.value
    if found.get("effective", runtime).state == "bad":
        words = found.get("effective", runtime).value
    fix = write_fix(key, wanted, found, facts, modules)
    return build_finding(id, wanted, found, found=words, why=why, fix=fix)


def judge_persisted(key: str, wanted: Value, facts: Sysctls) -> Hop:
    """Returns the hop on what the next boot sets a key to: services, and before them the last line that the kernel does
    not refuse."""
    if facts.services.value is None:
        return Hop("unknown", facts.services.reason, facts.services.source)

    def read_value(text: str) -> str | None:
        return _read_value(key, wanted, text, facts.running.get(key))

    def is_good(text: str) -> bool:
        return match_values(key, wanted, read_value(text) or "")

    found = sysctl_writes.find(facts.services.value, key)
    taken = [(each.value, each) for each in found if each.value == UNKNOWN or read_value(each.value)]
    lines = [(value, each) for value, each in taken if _is_of_tmpfiles(each.place)]
    services = [(value, each) for value, each in taken if not _is_of_tmpfiles(each.place)]

    def judge_lines() -> Hop:
        rest = _judge_before_services(key, wanted, facts)
        hop = _late_writes.judge(lines, is_good, lambda: rest)
        if rest.state == "absent" or hop.state in (rest.state, "unknown"):
            return hop
        return Hop("unknown", f"{hop.value}, or {rest.value}: {_NO_ORDER}", hop.source)

    return _late_writes.judge(services, is_good, judge_lines)


def _is_of_tmpfiles(place: str) -> bool:
    return place.startswith(tmpfiles.DIRECTORIES)


def _judge_before_services(key: str, wanted: Value, facts: Sysctls) -> Hop:
    if facts.boot.state == "unreadable":
        return Hop("unknown", facts.boot.reason, facts.boot.source)
    line, taken, refused = _find_taken(key, wanted, facts)
    if line is not None:
        remark = f" (the kernel refuses {refused.value!r} of {refused.place})" if refused else ""
        remark = f" (set by {line.key.replace('/', '.')}){remark}" if _is_effect(key, line) else remark
        if match_values(key, wanted, taken):
            return Hop("ok", f"{line.value}{remark}", line.place)
        return Hop("bad", f"{line.value}{_name_hidden(key, wanted, facts, line)}{remark}", line.place)
    if facts.arguments.state == "unreadable":
        return Hop("unknown", facts.arguments.reason, facts.arguments.source)
    if facts.boot.state == "absent":
        return Hop("bad", facts.boot.reason, facts.boot.source)
    if refused is not None:
        return Hop("bad", f"{refused.value}: the kernel refuses this", refused.place)
    volatile = find_good(key, wanted, facts.gone.value or [])
    if volatile:
        return Hop("absent", f"only {volatile[-1].place}, which the next boot does not find", BOOT_SOURCE)
    return Hop("absent", None, BOOT_SOURCE)


def _judge_pair(
    key: str, wanted: int, facts: Sysctls, hops: dict[HopName, Hop], name: str, of_all: str
) -> dict[HopName, Hop]:
    """Returns the hops of an interface's key that counts together with that of `all`: of what the two come to."""
    other = facts.running[of_all].map(_to_number)
    own = facts.running[key].map(_to_number)
    forwarding = netconf.find_forwarding(sysctl_lines.normalise_key(key))
    forwards = facts.running[forwarding].map(_to_number) if forwarding else Fact("value", 0)
    for fact in (own, other, forwards):
        if fact.value is None:
            return {**hops, "effective": Hop("unknown", fact.reason or "there is no such key", fact.source)}
    combined = netconf.combine(name, other.value or 0, own.value or 0, bool(forwards.value))
    good = netconf.holds(name, wanted, combined)
    shown = f"{combined}: {netconf.describe(name)}, of all ({other.value}) and of the interface ({own.value})"
    runtime = hops["runtime"]
    if good and runtime.state == "bad":
        runtime = Hop("ok", runtime.value, runtime.source)
    persisted = hops["persisted"]
    at_boot, place = _read_all_at_boot(name, of_all, wanted, facts)
    if facts.boot.state == "value" and persisted.state in ("ok", "bad"):
        mine, own_taken, _ = _find_taken(key, wanted, facts)
        if mine is not None:
            later = netconf.combine(name, at_boot, int(own_taken), _forwards_at_boot(key, facts))
            words = f"{mine.value} ({mine.place}), of all {at_boot} ({place or 'the kernel starts with it'}): "
            words += netconf.describe(name)
            state: HopState = "ok" if netconf.holds(name, wanted, later) else "bad"
            source = place if place and persisted.state == "ok" else persisted.source
            persisted = Hop(state, persisted.value if state == persisted.state else words, source)
    return {"persisted": persisted, "runtime": runtime, "effective": Hop("ok" if good else "bad", shown, other.source)}


def _find_taken(key: str, wanted: Value, facts: Sysctls) -> tuple[Assignment | None, str, Assignment | None]:
    """Returns the line that decides a key at boot, what the kernel takes of it, and the last one that it refuses."""
    refused: Assignment | None = None
    found: Assignment | None = None
    text = ""
    for line in facts.find_written(key):
        taken = _read_value(key, wanted, str(line.value), facts.running.get(key))
        if taken is not None:
            found, text = line, taken
            break
        refused = refused or line
    effect = _find_effect(key, found, facts)
    return (found, text, refused) if effect is None else (effect, effect.value or "", refused)


def _find_effect(key: str, own: Assignment | None, facts: Sysctls) -> Assignment | None:
    """Returns what :func:`netconf.find_later_effect` finds of what the next boot writes."""
    effect = netconf.find_effect(sysctl_lines.normalise_key(key))
    if effect is None or (own is None and netconf.names_interface(sysctl_lines.normalise_key(key))):
        return None  # an interface that comes later takes what there is by default
    order = [*(facts.arguments.value or []), *(facts.boot.value or [])]
    return netconf.find_later_effect(effect, own, facts.find_written(effect.cause), order)


def _is_effect(key: str, line: Assignment) -> bool:
    """Returns whether a line that decides about a key is that of another one."""
    return not sysctl_lines.find_lines([line], key)


def _to_number(text: str) -> int:
    number = sysctl_values.read_number(text)
    if number is None:
        raise ValueError("no number")
    return number


def find_good(key: str, wanted: Value, lines: list[Assignment]) -> list[Assignment]:
    """Returns lines that ask for what is wanted."""
    return [line for line in sysctl_lines.find_lines(lines, key) if match_values(key, wanted, line.value or "")]


def write_fix(
    key: str, wanted: Value, found: dict[HopName, Hop], facts: Sysctls, modules: Modules | None = None
) -> str:
    """Returns commands that set a key now and at the next boot, as far as it is not set."""
    owner = module_names.find_owner(sysctl_lines.normalise_key(key))
    lines: list[str] = []
    if found["runtime"].state == "absent":
        if owner is None or modules is None:
            return f"take {quote_word(key)} out of the profile, or boot a kernel that has it"
        lines = [f"modprobe {owner}", f"sysctl -w {quote_word(key)}={quote_word(show_value(wanted))}"]
    elif "bad" in (found["runtime"].state, found.get("effective", found["runtime"]).state):
        lines = [
            f"sysctl -w {quote_word(each)}={quote_word(show_value(wanted))}"
            for each in (_list_pair(key) if "effective" in found else [key])
            if not match_values(each, wanted, facts.running[each].value or "")
        ]
    return "\n".join(_fix_boot(key, wanted, found, facts, modules) + lines) or READ_IT


def fix_module(module: str, modules: Modules) -> list[str]:
    """Returns commands that have the next boot load a module before it applies sysctls."""
    block = (modules.blocks.value or {}).get(module)
    lines = [] if block is None else [_edits.remove_line(block.place)]
    if modules.at_boot.state == "absent":
        return [*lines, _masks.write_fix(MODULES_SERVICE, modules.at_boot.source)]
    return lines if module in (modules.at_boot.value or {}) else [*lines, f"echo {module} >> {_desk.MODULES}"]


def _list_pair(key: str) -> list[str]:
    pair = netconf.find_pair(sysctl_lines.normalise_key(key))
    return [key] if pair is None else [pair[1], key]


def _fix_boot(key: str, wanted: Value, found: dict[HopName, Hop], facts: Sysctls, modules: Modules | None) -> list[str]:
    """Returns what makes the next boot set a key."""
    if facts.boot.state == "absent" and found["persisted"].state != "ok":
        unmask = _masks.write_fix(SERVICE, facts.boot.source)
        good = find_good(key, wanted, facts.lines.value or [])
        return [unmask] if good else [unmask, append_line(key, wanted)]
    written = sysctl_writes.find(facts.services.value or (), key)
    wrong = [each for each in written if each.place == found["persisted"].source]
    of_line = bool(wrong) and _is_of_tmpfiles(wrong[0].place)
    advice = _late_writes.advise(found["persisted"], written, key)
    if advice and not of_line:
        return advice
    if wrong and (found["persisted"].state == "bad" or of_line):
        before = {**found, "persisted": _judge_before_services(key, wanted, facts)}
        without = msgspec.structs.replace(facts, services=Fact("value", [], facts.services.source))
        return [_write_service_fix(wrong[0], key, wanted), *_fix_boot(key, wanted, before, without, modules)]
    lines: list[str] = []
    late = find_lateness(key, facts, modules)
    if late.state == "value" and modules is not None:
        lines = fix_module(str(module_names.find_owner(sysctl_lines.normalise_key(key))), modules)
    hop = found["persisted"] if "effective" in found else judge_persisted(key, wanted, facts)
    if hop.state not in ("bad", "absent"):
        return [*lines, *(_masks.advise(facts.boot) if hop.state == "unknown" else [])]
    keys = [key] if "effective" not in found else _list_wrong_at_boot(key, wanted, facts)
    return [*lines, *(set_at_boot(each, wanted, facts) for each in keys)]


def _write_service_fix(wrong: start_commands.Write, key: str, wanted: Value) -> str:
    """Returns what keeps a service from setting a key, or a line of a file that it has sysctl read."""
    names = r"\|".join(re.sub(r"[./]", "[./]", name) for name in sysctl_lines.list_names(key))
    value = re.sub(r"[ \t]+", r"[ \\t]\\+", re.sub(r"[^\w \t]", r"\\\g<0>", wrong.value))
    return _late_writes.write_fix(
        wrong,
        [
            rf"""s#\(\(>\|tee\|tee -a\)[ \t]*["']\?\)/proc//*sys/\({names}\)#\1/dev/null#g""",
            rf"""s#\(\({names}\) *= *["']\?\){value}#\1{show_value(wanted)}#g""",
        ],
        key,
    )


def _list_wrong_at_boot(key: str, wanted: Value, facts: Sysctls) -> list[str]:
    """Returns which of the keys of an interface and of `all` the next boot has to set, so that both come to a value."""
    name, of_all = netconf.find_pair(sysctl_lines.normalise_key(key)) or ("", "")
    wrong = [] if match_values(key, wanted, _find_taken(key, wanted, facts)[1]) else [key]
    number = sysctl_values.read_number(show_value(wanted)) or 0
    at_boot, _ = _read_all_at_boot(name, of_all, wanted, facts)
    combined = netconf.combine(name, at_boot, number, _forwards_at_boot(key, facts))
    return wrong if netconf.holds(name, number, combined) else [*wrong, of_all]


def _forwards_at_boot(key: str, facts: Sysctls) -> bool:
    """Returns whether an interface's third key is on after the next boot: as now, if no line says so."""
    third = netconf.find_forwarding(sysctl_lines.normalise_key(key))
    if third is None:
        return False
    line, taken, _ = _find_taken(third, 1, facts)
    if line is None:
        effect = netconf.find_effect(third)
        line, taken, _ = _find_taken(effect.cause, 1, facts) if effect is not None else (None, "", None)
    return (facts.running[third].value if line is None else taken) not in (None, "0")


def _read_all_at_boot(name: str, of_all: str, wanted: Value, facts: Sysctls) -> tuple[int, str]:
    """Returns what the key of `all` is after the next boot, and what says so."""
    line, taken, _ = _find_taken(of_all, wanted, facts)
    return (netconf.RULES[name][1], "") if line is None else (int(taken), line.place)


def set_at_boot(key: str, wanted: Value, facts: Sysctls) -> str:
    """Returns the command that sets a key in the file that sorts last, or where a line that comes later sets it."""
    names, text = sysctl_lines.list_names(key), f"{key} = {show_value(wanted)}"
    decides = _find_taken(key, wanted, facts)[0]
    if decides and decides.line and decides.key not in names and not sysctl_lines.matches(names[0], decides.key):
        return f"have {quote_word(text)} come after {quote_word(decides.place)}, and nowhere before it"
    named = [line for line in facts.lines.value or [] if line.key in names]
    early = named and posixpath.basename(named[-1].file) < posixpath.basename(_desk.SYSCTL)
    if not named or (early and named[-1].key == names[0]):  # by another name it would have to come after that one
        return append_line(key, wanted)
    if not text.isprintable() or "\\" in text:
        return f"write {quote_word(text)} at {quote_word(named[-1].place)}"
    return f"sed -i {quote_word(f'{named[-1].line}c{text}')} {quote_word(named[-1].file)}"


def append_line(key: str, wanted: Value) -> str:
    """Returns the command that adds a line for a key to the desk's own file."""
    return f"echo {quote_word(f'{key} = {show_value(wanted)}')} >> {_desk.SYSCTL}"


def _read_value(key: str, wanted: Value, value: str, running: Fact[str] | None) -> str | None:
    """Returns what the kernel takes of a line's value, None if it refuses all of it.

    A file whose value is words takes any text as far as we know; one of numbers takes as many as it holds.
    """
    path = sysctl_lines.normalise_key(key)
    if path in sysctl_values.MASKS | sysctl_values.RANGES:
        return None if sysctl_values.read_set(path, value) is None else value
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
