"""What the files of pam.d say of pam_limits in a session: for the check and for the roles.

Standard library only: the controller's planning of the roles reads files with it.
Sources: pam.d(5), pam_limits(8); `_pam_dispatch_aux()` in `libpam/pam_dispatch.c`, and `libpam/pam_handlers.c`, of
Linux-PAM, beside which test_pam_stacks_real.py puts this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal, NamedTuple

from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.patterns import late_pattern

DIRECTORY = "/etc/pam.d"
#: Where libpam looks for a service's file, first what goes before (`_pam_open_config_file()`).
DIRECTORIES = (DIRECTORY, "/usr/lib/pam.d")
#: Those that people log in by.
SERVICES = ("sshd", "login")
#: What runs pam_limits in a session.
LINE = "session required pam_limits.so"

# A stack with more lines, or with more ways through it, is not told.
_MAX_LINES, _MAX_DEPTH, _MAX_WAYS = 256, 32, 64
_MAX_JUMP = 999
_RETURNS = (
    "success|open_err|symbol_err|service_err|system_err|buf_err|perm_denied|auth_err|cred_insufficient|"
    "authinfo_unavail|user_unknown|maxtries|new_authtok_reqd|acct_expired|session_err|cred_unavail|cred_expired|"
    "cred_err|no_module_data|conv_err|authtok_err|authtok_recover_err|authtok_lock_busy|authtok_disable_aging|"
    "try_again|ignore|abort|authtok_expired|module_unknown|bad_item|conv_again|incomplete|default"
)
_ACTION = late_pattern(rf"\s*({_RETURNS})\s*=\s*(ignore|ok|done|bad|die|reset|0*[1-9][0-9]*)\s*", 0)
# A word, or what is between brackets, in which `\]` ends nothing.
_WORD = late_pattern(r"\[((?:[^\]\\]|\\.?)*)\]?|(\S+)")
_CONTROLS = {
    "required": "success=ok new_authtok_reqd=ok ignore=ignore default=bad",
    "requisite": "success=ok new_authtok_reqd=ok ignore=ignore default=die",
    "sufficient": "success=done new_authtok_reqd=done default=ignore",
    "optional": "success=ok new_authtok_reqd=ok default=ignore",
}
# What a module returns for a session, of those that always return the same; None is a line without a module.
_ANSWERS = {"pam_permit.so": "success", "pam_deny.so": "session_err", "": "perm_denied"}
_LIMITS, _OTHER = "pam_limits.so", "other.so"

# How a stack stands: nothing said yet, success, another success, failure.
_Standing = Literal["undefined", "positive", "other", "negative"]


class Line(NamedTuple):
    """A line of a session. `kind`: a module, or one that includes a service; `name`: of the module, or of the service,
    UNINTELLIGIBLE where that is no file of /etc/pam.d; `control`: action by what the module returns, and default;
    `conf`: argument conf= of pam_limits, empty where there is none."""

    kind: Literal["module", "include", "substack"]
    name: str
    control: dict[str, str]
    conf: str = ""


# What the library makes of one that includes what is not there.
_BROKEN = Line("module", "", {"default": "bad"})


class _Step(NamedTuple):
    """A line of a stack in which all that is included is in its place. `level`: in how many substacks it is."""

    level: int
    line: Line


class _Way(NamedTuple):
    """A way through a stack up to some line: how it stands, how it stood where each substack began, and the conf= of
    each run of pam_limits, of equal ones the last, which takes back what is between."""

    standing: _Standing
    saved: tuple[_Standing, ...]
    runs: tuple[str, ...]


def find_runs(service: str, read: Callable[[str], str | None]) -> list[str]:
    """Returns the argument conf= of each run of pam_limits in a service's session, empty where there is none; no run
    where the files may lead past it, and UNINTELLIGIBLE for files that cannot be told. read: from a path to its text,
    None for what is not there."""
    try:
        found = find_sequences(service, read)
    except ValueError:
        return [UNINTELLIGIBLE]
    return list(dict.fromkeys(conf for runs in found for conf in runs)) if all(found) else []


def find_sequences(service: str, read: Callable[[str], str | None]) -> list[tuple[str, ...]]:
    """Returns what pam_limits may do in a service's session that opens: for each case the argument conf= of its runs,
    one after the other, empty where there is none. read: from a path to its text, None for what is not there.

    What a module returns is not known: a line with `sufficient` may end the stack, and one with a number may jump.
    Raises ValueError for a stack that cannot be told.
    """
    steps = _Expansion(service, read).steps
    ways: list[set[_Way]] = [set() for _ in range(len(steps) + 1)]
    ways[0].add(_Way("undefined", ("undefined",), ()))
    for at, step in enumerate(steps):
        if len(ways[at]) > _MAX_WAYS:
            raise ValueError("pam_limits may run in too many ways")
        for success, action in _list_answers(step.line):
            jump = int(action) if action.isdecimal() else 0
            jumped, whole = _skip(steps, at, jump)
            end, _ = _skip(steps, at, _MAX_LINES)
            for way in ways[at]:
                taken = _take(way, step, success, action)
                if not whole:
                    taken = taken._replace(standing="negative")
                decided = action == "die" or (action == "done" and taken.standing in ("positive", "other"))
                ways[end if decided else jumped].add(taken)
    opened = [way for way in ways[-1] if way.standing == "positive"]
    return sorted({way.runs for way in opened or ways[-1]})


def find_file(service: str, read: Callable[[str], str | None]) -> tuple[str, str] | None:
    """Returns path and text of a service's file, None if there is none."""
    for directory in DIRECTORIES:
        text = read(f"{directory}/{service}")
        if text is not None:
            return f"{directory}/{service}", text
    return None


def reduce(text: str) -> str:
    """Returns what a file of pam.d includes, the lines that lead on from one to another, and whether they run
    pam_limits in a session."""
    return "".join(f"{_show(line)}\n" for line in parse_session(text))


def parse_session(text: str) -> Iterator[Line]:
    """Yield the lines of a session, and those that include a service."""
    for line in text.replace("\\\n", " ").splitlines():
        words = [found[0] or found[1] for found in _WORD.findall(line.partition("#")[0])]
        if not words:
            continue
        kind = words[0].lower()
        if kind == "@include":
            yield _include("include", words[1:])
        elif kind.lstrip("-") == "session":
            control = words[1].lower() if len(words) > 1 else "required"
            if control in ("include", "substack"):
                yield _include("include" if control == "include" else "substack", words[2:])
            else:
                module = words[2].rpartition("/")[2] if len(words) > 2 else ""
                known = module == _LIMITS or module in _ANSWERS
                parsed = _parse_control(_CONTROLS.get(control, words[1] if len(words) > 1 else ""))
                conf = _find_conf(words[3:]) if module == _LIMITS else ""
                yield Line("module", module if known else _OTHER, parsed, conf)


def _include(kind: Literal["include", "substack"], words: list[str]) -> Line:
    if not words:
        return Line("module", "", _parse_control(_CONTROLS["required"]))
    name = words[0].removeprefix(f"{DIRECTORY}/")
    plain = name[0:1] != "." and consists_of(name, f"{NAME}.", 64)
    return Line(kind, name if name and plain else UNINTELLIGIBLE, {})


def _find_conf(words: list[str]) -> str:
    named = [word.removeprefix("conf=") for word in words if word.startswith("conf=")]
    conf = named[-1] if named else ""
    return conf if consists_of(conf, f"{NAME}./", 256) else UNINTELLIGIBLE


def _parse_control(text: str) -> dict[str, str]:
    """Returns the action by what a module returns, as `_pam_parse_control()` in `libpam/pam_misc.c` reads it: every one
    is bad where something is not understood."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text.rstrip()):
        pair = _ACTION.match(text, at)
        if pair is None:
            return {"default": "bad"}
        at = pair.end()
        action = str(min(int(pair[2][:9]), _MAX_JUMP)) if pair[2].isdecimal() else pair[2]
        if pair[1] != "default" or "default" not in found:
            found[pair[1]] = action
    return {"default": "bad", **found}


def _show(line: Line) -> str:
    if line.kind != "module":
        return f"{'@include' if line.kind == 'include' else 'session substack'} {line.name}"
    control = " ".join(f"{key}={action}" for key, action in line.control.items())
    written = next((word for word, known in _CONTROLS.items() if _parse_control(known) == line.control), f"[{control}]")
    return f"session {written} {line.name}{line.conf and f' conf={line.conf}'}".rstrip()


class _Expansion:
    """The lines of a service's session, in which those of what is included are in their place."""

    def __init__(self, service: str, read: Callable[[str], str | None]) -> None:
        """Raises ValueError for what cannot be told."""
        self.steps: list[_Step] = []
        self._read = read
        self._files: dict[str, list[Line] | None] = {}
        self._left = _MAX_LINES
        self._add(service, 0, ())

    def _add(self, service: str, level: int, within: tuple[str, ...]) -> bool:
        """Returns whether there is such a service, which does not include itself."""
        lines = None if service in within else self._find_lines(service)
        for line in lines or ():
            self._left -= 1
            if self._left < 0 or len(within) > _MAX_DEPTH:
                raise ValueError(f"the session of {(*within, service)[0]} has too many lines")
            if line.name == UNINTELLIGIBLE:
                raise ValueError(f"{DIRECTORY}/{service} includes what is no file of {DIRECTORY}")
            if line.kind != "include":
                self.steps.append(_Step(level, line))
            if line.kind != "module" and not self._add(
                line.name, level + (line.kind == "substack"), (*within, service)
            ):
                self.steps.append(_Step(level, _BROKEN))
        return lines is not None

    def _find_lines(self, service: str) -> list[Line] | None:
        if service not in self._files:
            found = find_file(service, self._read)
            self._files[service] = None if found is None else list(islice(parse_session(found[1]), _MAX_LINES + 1))
        return self._files[service]


def _list_answers(line: Line) -> list[tuple[bool, str]]:
    """Returns what a line may come to: whether its module says success, and the action that this has."""
    if line.kind == "substack":
        return [(True, "ignore")]
    control, default = line.control, line.control["default"]
    only = _ANSWERS.get(line.name)
    if only is not None:
        return [(only == "success", control.get(only, default))]
    failures = {default, *(action for key, action in control.items() if key != "success")}
    return [(True, control.get("success", default)), *((False, action) for action in sorted(failures))]


def _take(way: _Way, step: _Step, success: bool, action: str) -> _Way:
    """Returns how a way goes on after a line."""
    standing, saved, runs = way
    if step.line.kind == "substack":
        return _Way(standing, (*saved[: step.level + 1], standing), runs)
    if step.line.name == _LIMITS:
        runs = (*(each for each in runs if each != step.line.conf), step.line.conf)
    if action in ("bad", "die"):
        standing = "negative"
    elif action == "reset":
        standing = saved[step.level]
    elif action in ("ok", "done") and standing in ("undefined", "positive"):
        standing = "positive" if success else "other"
    return _Way(standing, saved, runs)


def _skip(steps: list[_Step], at: int, count: int) -> tuple[int, bool]:
    """Returns the line after the next `count` ones of the same stack, and whether there are so many; a substack is
    one."""
    level = steps[at].level
    while count and at + 1 < len(steps) and steps[at + 1].level >= level:
        at += 1
        while at + 1 < len(steps) and steps[at + 1].level > level:
            at += 1
        count -= 1
    return at + 1, not count
