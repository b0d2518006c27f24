"""Texts that are all of one thing, and each parser of a host's files.

Of files that people write no more than 1 MiB is read (test_root.py), so that is what their parsers get. A parser is any
function `parse*` or `reduce*` of a module in hosttune/host; a new one is found by itself, and if it takes more than a
text it has to join CALLS.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable
from typing import Any

from hosttune import host as package
from hosttune.host import cmdline, forms, grub, grub_default, pam, root, transparent, users

KERNEL, CONFIGURATION = root.MAX_BYTES, root.MAX_CONFIGURATION_BYTES
#: Modules, and functions by their whole name, that read what the kernel or the system's tools write.
FROM_KERNEL = (
    *("cmdline.", "boot_pages.", "cpulist.", "hugepages.", "identity.", "irq.", "forms."),
    *("modules.reduce_loaded", "process."),
    *("irqbalance.parse_banned", "irqbalance.reduce_environment", "sysctl.reduce_value"),
    *("limits.parse_proc", "limits.reduce_proc", "users.reduce_passwd", "users.reduce_group"),
)
#: Texts of any kind, by a piece that is repeated; and what goes before it.
SHAPES = {
    **{
        f"{piece!r} again and again": ("", piece)
        for piece in ("a", "\n", ",", '"', "'", "\\", "a=b ", "a\n", "\\\n", "[a]\n")
    },
    **{
        f"{piece!r} again and again": ("", piece)
        for piece in ("0-8191,", "0-1:1/1,", "f", "9", "0 ", "a:", "/a ", "#", "\ud7ff")
    },
    "a list without end": ("a: ", "["),
    "a continued line": ("[Service]\n", "ExecStart=/a \\\n"),
    "assignments": ("[Service]\n", "ExecStart=/a/b\n"),
    "long numbers": ("[Service]\nLimitNOFILE=", "9"),
    "a quoted word": ('isolcpus="', "2 "),
    "parameters": ("", "isolcpus=2 "),
    "flags": ("isolcpus=", "domain,"),
    "menus": ("", "menuentry a {\nlinux /v ro\n}\n"),
    "menus in menus": ("", "submenu a {\n"),
    "functions": ("", "function a {\n"),
    "conditions of GRUB": ("menuentry a {\nlinux /v $x\n}\n", "if [ -e $root ]; then set x=$x$root; fi\n"),
    "conditions in conditions": ("", "if [ -e $root ]; then set x=a; "),
    "many ways": ("", "if [ -e a ]; then b=$b; elif [ -e c ]; then d=$d$b; else b=$d; fi\n"),
    "a function that calls itself": ("function f {\nf $1 $1\nf\n}\n", "f a\n"),
    "words of conditions": ("if [ ", "( ! -n a -o "),
    "variables of variables": ("set a=xxxxxxxxxxxxxxxx\n", "set a=$a$a\n"),
    "an open quote": ("menuentry 'a' {\nlinux /v ", '"\'a" '),
    "pieces of words": ("menuentry 'a' {\nlinux /v ", "'a'\"b\"\\c"),
    "rows": ("CPU0 CPU1\n", "1: 2 3 a b c\n"),
    "columns": ("", "CPU0 "),
    "counts": (f"{' '.join(f'CPU{n}' for n in range(4096))}\n1: ", "0 "),
    "wide rows": (f"{' '.join(f'CPU{n}' for n in range(4096))}\n", f"1: {'0 ' * 4096}\n"),
    "users": ("", "trader:x:1:1:\n"),
    "a group of all": ("rt:x:5:", "trader,"),
    "limits": ("", "trader - rtprio 95\n"),
    "a line of PAM": ("session ", "a "),
    "includes": ("", "@include a\n"),
    "keys": ("", "net.core.a = 5\n"),
    "globs": ("", "net.*.a = 5\n"),
    "a glob": ("net.", "*a"),
    "writes": ("", "w /sys/kernel/mm/transparent_hugepage/enabled - - - - never\n"),
    "modules": ("", "tcp_a\n"),
    "banned": ("IRQBALANCE_BANNED_CPULIST=", "0-8191,"),
    "banned again": ("", "IRQBALANCE_BANNED_CPUS=f\n"),
    "words of an environment": ("", "IRQBALANCE_BANNED_CPUS=f "),
    "fields of a status": ("Name:\ta\n", "Cpus_allowed_list:\t0\n"),
    "groups": ("", "0::/system.slice/irqbalance.service\n"),
    "lines of shell": ("#!/bin/sh\n", "echo never > /sys/kernel/mm/transparent_hugepage/enabled\n"),
    "ends of scripts": ("#!/bin/sh\nif a; then nr_hugepages\n", " exit 0\n"),
    "commands of one line": ("nr_hugepages ", "sysctl echo grep ; # exec a "),
    "scripts": ("smp_affinity ", "/a/b.yml "),
    "lines of a script": ("smp_affinity\n", "echo f > smp_affinity \\\n"),
    "commands of a script": ("smp_affinity ;", "echo f > smp_affinity;"),
    "YAML": ("irq_affinity:\n", " a: 1\n"),
    "aliases": ("a: &a [x]\n", "b: [*a, *a]\n"),
}

USER = users.User("trader", 1, 1, frozenset({"rt"}), frozenset({1, 5}))


def _arguments(*text: str) -> Any:
    return cmdline.split_arguments(*text)


#: How a parser that takes more than a text is called.
CALLS: dict[str, Callable[[Any, str], Any]] = {
    "cpulist.parse": lambda parse, text: parse(text, 8191),
    "boot_pages.parse": lambda parse, text: parse(_arguments(f"hugepages={text}")),
    "boot_pages.reduce": lambda reduce, text: reduce("hugepages", text),
    **{f"boot_writes.parse{name}": lambda parse, text: parse(text, "f") for name in ("", "_command", "_script")},
    "grub_script.parse": lambda parse, text: parse(text, "f"),
    "limits_lines.parse": lambda parse, text: pam.resolve([parse(text, "f")["1.5"]], USER, {}, None),
    "module_names.parse_blocks": lambda parse, text: parse(text, "f"),
    "module_names.parse_lines": lambda parse, text: parse(text, "f"),
    "modules.parse_lines": lambda parse, text: parse(text, "f"),
    "limits.parse_systemd": lambda parse, text: parse("memlock", text),
    "sysctl_lines.parse": lambda parse, text: parse(text, "f"),
    "systemd_lines.parse": lambda parse, text: parse(text, "f"),
    "tmpfiles_lines.parse": lambda parse, text: parse(text, "f"),
}
#: What reads a text and has another name.
MORE: dict[str, Callable[[str], Any]] = {
    "cmdline.resolve_isolation": lambda text: cmdline.resolve_isolation(_arguments(text), 7),
    "cmdline.resolve_irqaffinity": lambda text: cmdline.resolve_irqaffinity(_arguments(f"irqaffinity={text}"), 7),
    "grub_default.evaluate": lambda text: grub_default.evaluate({"a": text, "b": text}),
    "transparent.resolve_boot": lambda text: transparent.resolve_boot(_arguments(f"thp_anon={text}"), [64, 2048]),
    "cmdline.resolve_rcu_nocbs": lambda text: cmdline.resolve_rcu_nocbs(_arguments(f"rcu_nocbs={text}"), 7),
    "grub.find_default_entry": lambda text: grub.find_default_entry(text, {}, {}),
    "grub.find_default_entry of BLS": lambda text: grub.find_default_entry("blscfg", {}, {"a": f"options {text}"}),
    "grub.find_default_entry of a saved entry": lambda text: grub.find_default_entry(
        "set default=${saved_entry}\nmenuentry a {\nlinux /v $x\n}", {"saved_entry": text, "x": text}
    ),
    **{
        f"forms.{name}": getattr(forms, name) for name in ("keep_number_list", "keep_word", "keep_words", "keep_choice")
    },
}


def find_parsers() -> dict[str, Callable[[str], Any]]:
    """Returns what reads text in hosttune/host, by MODULE.FUNCTION, as functions of the text alone."""
    found = dict(MORE)
    for module in pkgutil.iter_modules(package.__path__):
        found_in = importlib.import_module(f"{package.__name__}.{module.name}")
        for name, function in inspect.getmembers(found_in, inspect.isfunction):
            its_own = function.__module__ == found_in.__name__
            if its_own and name.startswith(("parse", "reduce")) and name != "reduce_root":
                title = f"{module.name}.{name}"
                call = CALLS.get(title)
                found[title] = (lambda text, f=function, c=call: c(f, text)) if call else function
    return found


def measure(name: str, share: int = 1) -> dict[str, float]:
    """Returns the CPU seconds of one parser by shape, of texts of the size that it may get or a `share` of it."""
    parser = find_parsers()[name]
    size = (KERNEL if name.startswith(FROM_KERNEL) else CONFIGURATION) // share
    found: dict[str, float] = {}
    # The collector would walk through all that a test run has kept, again and again, on the parser's account.
    gc.collect()
    gc.freeze()
    for shape, (start, piece) in SHAPES.items():
        text = start + piece * ((size - len(start)) // len(piece))
        begin = time.process_time()
        try:
            parser(text)
        except ValueError as error:
            assert len(str(error)) < 1000, f"{shape}: an error that repeats what it refuses"
        found[shape] = time.process_time() - begin
    gc.unfreeze()
    return found
