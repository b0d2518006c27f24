"""What GRUB comes to when it runs grub.cfg: its variables and its menu. Pure.

A variable may have several values: where a condition hangs on what no file tells, both ways are gone, and what comes
out of either is kept. What cannot be followed is a ValueError.

Sources: `grub-core/script/execute.c`, `grub-core/commands/test.c`, `grub-core/commands/loadenv.c`,
`grub-core/normal/menu.c` and `grub-core/kern/corecmd.c` of GRUB 2.06; the manual's "Special environment variables".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from hosttune.host import grub_script, grub_test
from hosttune.host.grub_script import UNKNOWN, Command, For, Function, If, Statement

#: Characters that all variables of a configuration may expand to, commands that are run, and values of a variable.
MAX_EXPANSION, MAX_STEPS, MAX_VALUES = 1 << 20, 1 << 14, 8

#: The values that a variable may have; an UNKNOWN in one is text without blanks.
Values = tuple[str, ...]

_ANY: Values = (UNKNOWN,)
_EMPTY: Values = ("",)
_KERNEL_COMMANDS = ("linux", "linux16", "linuxefi")
# What GRUB sets itself before it reads its configuration; features begin with `feature_`.
_OF_GRUB = frozenset(
    ("prefix", "root", "cmdpath", "config_directory", "config_file", "fw_path", "grub_cpu", "grub_platform", "pager",
     "check_signatures", "shim_lock", "lockdown", "lang", "locale_dir", "secondary_locale_dir", "chosen", "?", "#", "*",
     "@", "0")
)  # fmt: skip
_PREFIXES = ("feature_", "net_", "pxe_")
# What hands over to another menu, ends GRUB, or changes what is run next.
_NOT_FOLLOWED = frozenset(
    ("configfile", "normal", "normal_exit", "exit", "boot", "halt", "reboot", "eval", "setparams", "shift", "return",
     "break", "continue", "legacy_configfile", "legacy_source", "syslinux_configfile", "syslinux_source",
     "extract_entries_source", "extract_entries_configfile", "extract_legacy_entries_source")
)  # fmt: skip
# Files that add no entry before the others and no arguments: a password, snapshots of SUSE and of btrfs.
_HARMLESS = ("/user.cfg", "/grub-snapshot.cfg", "/snapshot_submenu.cfg", "/grub-btrfs.cfg")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTIONS = ("--class", "--users", "--hotkey", "--source", "--id")
_SETS = re.compile(r"(?:--set|-s)(?:=(?:[0-9]+:)?([A-Za-z_]\w*))?", re.ASCII)


class Kernel(NamedTuple):
    """What a command `linux` loads: its words behind the command's name, and the file and line of it."""

    words: tuple[str, ...]
    file: str = ""
    line: int = 0


class Entry(msgspec.Struct):
    """An entry of a menu. `sure`: whether it is there whatever is not known. `kernel`: of one without a script."""

    titles: Values
    ids: Values = _EMPTY
    submenu: bool = False
    sure: bool = True
    body: list[Statement] = []
    arguments: tuple[Values, ...] = ()
    kernel: Kernel | None = None


class _Layer:
    """What was set since a condition that is not known, or an entry, began: variables, and which kernel is loaded."""

    def __init__(self, kernels: tuple[Kernel | None, ...] | None = None) -> None:
        self.variables: dict[str, Values] = {}
        self.kernels = kernels


class Files(NamedTuple):
    """What GRUB reads beside its configuration: the variables of grubenv, custom.cfg, entries of the Boot Loader
    Specification by name, or None."""

    env: dict[str, str]
    custom: str | None = None
    bls: dict[str, str] | None = None


class Run:
    """GRUB while it reads its configuration, and when it boots an entry."""

    def __init__(self, files: Files) -> None:
        self.menu: list[Entry] = []
        self.took_bls = False
        self._files = files
        self._layers = [_Layer((None,))]
        self._functions: dict[str, list[Statement]] = {}
        self._exported: set[str] = set()
        self._arguments: list[tuple[Values, ...]] = []
        self._unsure = 0
        self._depth = 0
        self._steps = 0
        self._left = MAX_EXPANSION

    # --- variables ---

    def get(self, name: str) -> Values:
        """Returns the values that a variable may have; empty for one that is not set."""
        if name.isdecimal() and name != "0":
            arguments = self._arguments[-1] if self._arguments else ()
            return arguments[int(name) - 1] if len(name) < 4 and int(name) <= len(arguments) else _EMPTY
        found = self._get(name)
        if found is not None:
            return found
        if name == "feature_menuentry_id":
            return ("y",)
        return _ANY if name in _OF_GRUB or name.startswith(_PREFIXES) else _EMPTY

    def _get(self, name: str) -> Values | None:
        for layer in reversed(self._layers):
            if name in layer.variables:
                return layer.variables[name]
        return None

    def _get_kernels(self) -> tuple[Kernel | None, ...]:
        return next(layer.kernels for layer in reversed(self._layers) if layer.kernels is not None)

    def set(self, name: str, values: Values) -> None:
        """Give a variable its values."""
        self._layers[-1].variables[name] = values if len(values) <= MAX_VALUES else _ANY

    def expand(self, words: list[str]) -> list[list[str]]:
        """Returns what raw words may come to. A variable has the same value in all of them."""
        names = grub_script.find_names(words)
        values = [self.get(name) for name in names]
        total = 1
        for number, each in enumerate(values):
            total *= len(each)
            if total > MAX_VALUES:
                values[number] = _ANY
                total //= len(each)
        found: dict[tuple[str, ...], None] = {}
        for choice in itertools.product(*values):
            known = dict(zip(names, choice, strict=True))
            found[tuple(grub_script.expand(words, partial(self._count, known)))] = None
        return [list(each) for each in found]

    def _count(self, known: dict[str, str], name: str) -> str:
        value = known[name]
        self._left -= len(value)
        if self._left < 0:
            raise ValueError("its variables expand without limit")
        return value

    # --- commands ---

    def run(self, body: list[Statement]) -> bool | None:
        """Run commands, and return whether the last one succeeds, None where that is not known."""
        self._depth += 1
        if self._depth > 2 * grub_script.MAX_DEPTH:
            raise ValueError("its functions and menus are nested too deep")
        result: bool | None = True
        for statement in body:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise ValueError(f"it runs more than {MAX_STEPS:,} commands")
            if isinstance(statement, Command):
                result = self._run_command(statement)
            elif isinstance(statement, If):
                self._run_if(statement)
                result = None
            elif isinstance(statement, Function):
                self._functions[statement.name] = statement.body
            elif isinstance(statement, For):
                self._run_for(statement)
                result = None
            else:
                raise ValueError("a loop in it is not followed")
        self._depth -= 1
        return result

    def _run_if(self, statement: If) -> None:
        truth = self.run(statement.condition)
        if truth is not None:
            self.run(statement.body if truth else statement.otherwise)
            return
        self._unsure += 1
        layers = []
        for body in (statement.body, statement.otherwise):
            self._layers.append(_Layer())
            self.run(body)
            layers.append(self._layers.pop())
        self._unsure -= 1
        for name in {**layers[0].variables, **layers[1].variables}:
            either = [layer.variables.get(name) or self.get(name) for layer in layers]
            self.set(name, tuple(dict.fromkeys((*either[0], *either[1]))))
        if any(layer.kernels for layer in layers):
            kernels = dict.fromkeys(each for layer in layers for each in layer.kernels or self._get_kernels())
            if len(kernels) > MAX_VALUES:
                raise ValueError("which kernel an entry boots is not known")
            self._layers[-1].kernels = tuple(kernels)

    def _run_for(self, statement: For) -> None:
        choices = self.expand(statement.words)
        if len(choices) != 1 or any(UNKNOWN in word for word in choices[0]):
            raise ValueError("a loop in it is not followed")
        for word in choices[0]:
            self.set(statement.name, (word,))
            self.run(statement.body)

    def _run_command(self, command: Command) -> bool | None:
        choices = self.expand(command.words)
        names = {words[0] if words else "" for words in choices}
        if len(names) != 1:
            raise ValueError(f"line {command.line} of {command.file}: which command it is, is not known")
        name = names.pop()
        invert = name == "!"
        if invert:
            choices = [words[1:] for words in choices]
            name = choices[0][0] if choices[0] else ""
            if {words[0] if words else "" for words in choices} != {name}:
                raise ValueError(f"line {command.line} of {command.file}: which command it is, is not known")
        result = self._run_named(name, [words[1:] for words in choices], command)
        return not result if invert and result is not None else result

    def _run_named(self, name: str, choices: list[list[str]], command: Command) -> bool | None:
        if name in ("[", "test"):
            answers = {grub_test.evaluate(words, self._find_file) for words in choices}
            return answers.pop() if len(answers) == 1 else None
        if name in ("menuentry", "submenu"):
            self._add_entry(name == "submenu", choices, command)
        elif name in self._functions:
            return self._call(self._functions[name], choices)
        elif name in _KERNEL_COMMANDS:
            self._layers[-1].kernels = tuple(Kernel(tuple(words), command.file, command.line) for words in choices)
        elif name in ("true", "false"):
            return name == "true"
        elif name == "set":
            self._assign([words[0] if words else "" for words in choices])
            return True
        elif "=" in name:
            self._assign([name])
            return True
        elif name in _NOT_FOLLOWED:
            raise ValueError(f"line {command.line} of {command.file}: what follows `{name}` is not known")
        else:
            return self._run_other(name, choices)
        return None

    def _run_other(self, name: str, choices: list[list[str]]) -> bool | None:
        if name in ("source", "."):
            self._source(choices)
        elif name == "load_env":
            self._load_env(choices)
        elif name == "blscfg":
            self._add_bls()
        elif name == "export":
            self._exported.update(word for words in choices for word in words)
        elif name == "unset":
            for words in choices:
                self.set(words[0] if words else "", _EMPTY)
        elif name in ("increment", "decrement", "read"):
            for words in choices:
                self._step(words[0] if words else "", {"increment": 1, "decrement": -1}.get(name))
        elif name == "hwmatch":
            self.set("match", _ANY)
        else:
            for words in choices:
                self._set_by_option(words)
        return None

    def _assign(self, words: list[str]) -> None:
        found: dict[str, Values] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if UNKNOWN in name:
                raise ValueError("which variable it sets is not known")
            if equals:
                found[name] = (*found.get(name, ()), value)
        for name, values in found.items():
            # Of several choices each may be the one that names another variable.
            self.set(name, values if len(found) == 1 else (*values, *self.get(name)))

    def _step(self, name: str, by: int | None) -> None:
        numbers = [re.fullmatch(r"-?[0-9]{1,9}", value) for value in self.get(name)]
        if by is None or not all(numbers):
            self.set(name, _ANY)
        else:
            self.set(name, tuple(str(int(number[0]) + by) for number in numbers if number))

    def _set_by_option(self, words: list[str]) -> None:
        """Take note of a variable that a command such as search(--set) sets to what it finds."""
        for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
            match = _SETS.fullmatch(word)
            for name in (match[1], None if match[1] else following) if match else ():
                if name and _NAME.fullmatch(name.rpartition(":")[2]):
                    self.set(name.rpartition(":")[2], _ANY)

    def _call(self, body: list[Statement], choices: list[list[str]]) -> bool | None:
        lengths = {len(words) for words in choices}
        columns = zip(*choices, strict=True) if len(lengths) == 1 else (_ANY for _ in range(max(lengths)))
        self._arguments.append(tuple(tuple(dict.fromkeys(column)) for column in columns))
        result = self.run(body)
        self._arguments.pop()
        return result

    # --- files ---

    def _find_file(self, path: str) -> bool | None:
        """Returns whether a file is there, and not empty."""
        if path.endswith("/grubenv"):
            return bool(self._files.env)
        return bool(self._files.custom) if path.endswith("/custom.cfg") else None

    def _source(self, choices: list[list[str]]) -> None:
        path = choices[0][0] if choices[0] else ""
        if path.endswith("/custom.cfg"):
            if self._files.custom is not None:
                self.run(grub_script.parse(self._files.custom, "custom.cfg"))
        elif path.endswith("/user.cfg"):
            self.set("GRUB2_PASSWORD", _ANY)
        elif not path.endswith(_HARMLESS):
            raise ValueError("it takes in another file, which is not read")

    def _load_env(self, choices: list[list[str]]) -> None:
        names = []
        words = iter(choices[0])
        for word in words:
            if word in ("-f", "--file"):
                word = f"--file={next(words, '')}"
            if word.startswith("--file="):
                if not word.endswith("/grubenv"):
                    raise ValueError("it takes variables from another file than grubenv")
            elif not word.startswith("-"):
                names.append(word)
        for name, value in self._files.env.items():
            if not names or name in names:
                self.set(name, (value,))

    # --- the menu ---

    def _add_entry(self, submenu: bool, choices: list[list[str]], command: Command) -> None:
        if command.block is None:
            raise ValueError(f"line {command.line} of {command.file}: an entry without commands")
        titles: dict[str, None] = {}
        ids: dict[str, None] = {}
        for words in choices:
            title, id = _split_options(words)
            titles[title], ids[id] = None, None
        names = tuple(titles)
        self.menu.append(Entry(names, tuple(ids), submenu, not self._unsure, command.block, (names,)))

    def _add_bls(self) -> None:
        if self._files.bls is None:
            raise ValueError("it takes its entries from /boot/loader/entries, which could not be read")
        self.took_bls = True
        for name in sorted(self._files.bls, key=make_version_key, reverse=True):
            title, path = name, ""
            options: list[list[str]] = []
            for line in self._files.bls[name].splitlines():
                key, _, value = line.strip().partition(" ")
                if key == "title":
                    title = value.strip()
                elif key == "linux":
                    path = value.strip()
                elif key == "options":
                    options.append(grub_script.parse_words(value.strip()))
            choices = self.expand([word for words in options for word in words])
            if len(choices) != 1:
                raise ValueError("the arguments of its entries are not known")
            kernel = Kernel((path, *choices[0]))
            self.menu.append(Entry((title,), (name,), False, not self._unsure, kernel=kernel))

    def boot(self, entry: Entry) -> Iterator[Kernel | None]:
        """Yields what an entry may boot; None for no kernel."""
        if entry.kernel is not None:
            yield entry.kernel
            return
        self._layers.append(_Layer((None,)))
        self._arguments.append(entry.arguments)
        self.run(entry.body)
        self._arguments.pop()
        yield from self._layers.pop().kernels or ()

    def open(self, entry: Entry, default: str) -> Run:
        """Returns GRUB in a submenu: it has the variables that were exported, and those of GRUB's own."""
        inner = Run(self._files)
        for name in self._exported:
            if (values := self._get(name)) is not None:
                inner.set(name, values)
        inner._exported, inner._functions = set(self._exported), dict(self._functions)
        inner._depth, inner._steps, inner._left = self._depth + 1, self._steps, self._left
        inner.set("default", (default,))
        inner._arguments.append(entry.arguments)
        inner.run(entry.body)
        self._steps, self._left = inner._steps, inner._left
        return inner


def _split_options(words: list[str]) -> tuple[str, str]:
    """Returns the title and the id of an entry."""
    title, id = None, ""
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _OPTIONS:
            value = value if equals else next(rest, "")
            id = value if option == "--id" else id
        elif not word.startswith("--") and title is None:
            title = word
    return title or "", id


def make_version_key(name: str) -> list[tuple[int, int, str]]:
    """Returns a sort key that orders versions as RPM does: numbers as numbers, and above letters."""
    parts = re.findall(r"[0-9]{1,20}|[a-zA-Z]+", name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
