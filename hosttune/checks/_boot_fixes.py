"""Commands that give the next boot what is wanted: lines of tmpfiles.d, and arguments of the kernel through GRUB."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from hosttune.checks import _desk, _edits, _late_writes, _masks
from hosttune.checks._hugepages_at_boot import Sources
from hosttune.findings import Hop
from hosttune.host import boot_pages, grub_default, start_commands, tmpfiles, tmpfiles_lines
from hosttune.host.boot import DEFAULT, Boot
from hosttune.output import quote_word


def write_late_fix(sources: Sources, hop: Hop, path: str, value: str) -> list[str]:
    """Returns commands after which the next boot writes a value to a path, whatever writes another one there today."""
    writes = sources.tmpfiles.value or tmpfiles.Writes()
    if writes.masked:
        lines = [_masks.write_fix(tmpfiles.SERVICE, writes.masked)]
        writes = msgspec.structs.replace(writes, masked="")
        kept = writes.find(path)
        # What comes with it again may be what is wanted.
        if kept and kept[-1].value == value:
            return lines
    else:
        lines = []
    wrong = [each for each in sources.services.value or () if each.place == hop.source and each.path == path]
    if hop.state == "bad" and wrong:
        lines.append(_write_service_fix(wrong[0], path))
    if hop.state == "bad" and hop.source.endswith(")") and " (vm." in hop.source:
        file, _, number = hop.source.partition(" (")[0].rpartition(":")
        lines.append(f"sed -i {number}d {quote_word(file)}")
    return [*lines, *_write_line(writes, path, value)]


def advise_doubt(sources: Sources, hop: Hop) -> list[str]:
    """Returns what to do where it is not known what systemd-tmpfiles writes at boot, and that decides."""
    doubt = (sources.tmpfiles.value or tmpfiles.Writes()).doubt
    return _masks.advise(doubt) if (hop.state, hop.source) == ("unknown", doubt.source) else []


def _write_service_fix(wrong: start_commands.Write, path: str) -> str:
    # A line stays whole: what is around it may need one.
    return _late_writes.write_fix(wrong, [rf"""s#\(\(>\|tee\|tee -a\)[ \t]*["']\?\){path}#\1/dev/null#g"""], path)


def _write_line(writes: tmpfiles.Writes, path: str, value: str) -> list[str]:
    """Returns commands that make `w PATH - - - - VALUE` the last line for a path.

    systemd-tmpfiles goes by the order in which patterns are first named. Of the lines for one pattern the first keeps
    out those that say something else: where the path's own lines are the last ones, the first of them is changed; else
    all of them go, those too that were kept out.
    """
    text = f"w {path} - - - - {value}"
    found = writes.find(path)
    if not found:
        return [f"echo {quote_word(text)} >> {_desk.TMPFILES}"]
    own = [line for line in (*found, *writes.ignored) if line.path == path and line.kind[0] == "w"]
    edits = {own[0]: f"c {text}"} if found[-1] in own else {found[-1]: f"a {text}", **dict.fromkeys(own, "d")}
    lines = []
    for file in dict.fromkeys(_split_place(line)[0] for line in edits):
        here = [f"{_split_place(line)[1]}{edit}" for line, edit in edits.items() if _split_place(line)[0] == file]
        target, copies = _edits.choose_file(file)
        lines += [*copies, f"sed -i {' '.join(f'-e {quote_word(edit)}' for edit in here)} {quote_word(target)}"]
    return lines


def _split_place(line: tmpfiles_lines.Line) -> tuple[str, str]:
    file, _, number = line.place.rpartition(":")
    return file, number


# --- arguments of the kernel ------------------------------------------------------------------------------

_DIRECTORY = "/etc/default/grub.d/"
# As Fedora, RHEL and SUSE have it.
_MAKE_GRUB2 = "grub2-mkconfig -o /boot/grub2/grub.cfg"
#: How the names of the roles' own files begin, which their next run writes anew.
_OF_ROLES = f"{_DIRECTORY}80-hosttune-"


def write_argument_fix(boot: Boot, words: str, removed: str, is_good: Callable[[str], bool]) -> str:
    """Returns commands that put `words` into the menu of GRUB; `removed` is a pattern of what they replace.

    `is_good` tells whether a command line has what is wanted. Where the files ask for it already, what is missing is to
    make the menu again; where a later file takes it away, that file has to come first. Elsewhere than on Debian the
    entries of the menu are changed themselves, or /etc/default/grub alone, which is all that is read there. An entry
    that somebody wrote by hand none of these reach: the fix says where it stands.
    """
    if boot.place:
        return _write_advice(boot, words, removed)
    if boot.menu == "bls":
        return _write_bls_fix(boot, words, removed)
    if boot.menu == "grub2":
        lines = _write_removal(removed, [DEFAULT] if re.search(removed, boot.sources.get(DEFAULT, "")) else [])
        return "\n".join([*lines, f"echo {quote_word(_add(words))} >> {DEFAULT}", _MAKE_GRUB2])
    configured = boot.evaluate()
    if configured.line is not None and is_good(configured.line):
        return "update-grub"
    paths = list(configured.steps)
    good = [number for number, path in enumerate(paths) if is_good(configured.steps[path])]
    if good and good[-1] + 1 < len(paths) and configured.line is not None:
        culprit = paths[good[-1] + 1]
        moved = f"{_DIRECTORY}00-{culprit.rpartition('/')[2]}"
        if culprit.startswith(_DIRECTORY) and moved not in boot.sources:
            order = sorted({**boot.sources, moved: boot.sources[culprit]}.items())
            again = grub_default.evaluate({path: text for path, text in order if path != culprit})
            if again.line is not None and is_good(again.line):
                return f"mv {quote_word(culprit)} {quote_word(moved)}  # it sets the arguments anew\nupdate-grub"
    variable = grub_default.VARIABLES[1]
    added = _add(words)
    files = [path for path, text in boot.sources.items() if re.search(removed, text)]
    if any(path.startswith(_OF_ROLES) for path in files):
        # Of most parameters that are given twice the kernel takes the last, of isolcpus= and of pages the first.
        for line in (added, f'{variable}="{words} ${variable}"'):
            if _comes_to(boot, line, is_good):
                return f"echo {quote_word(line)} >> {_desk.GRUB}\nupdate-grub"
    return "\n".join([*_write_removal(removed, files), f"echo {quote_word(added)} >> {_desk.GRUB}", "update-grub"])


def _add(words: str) -> str:
    variable = grub_default.VARIABLES[1]
    return f'{variable}="${variable} {words}"'


def _write_removal(removed: str, files: Sequence[str]) -> list[str]:
    """Returns the command that takes what fits a pattern out of files."""
    if not files:
        return []
    script = f"s/(^|[ \"'])({removed})/\\1/g"
    return [f"sed -i -E {quote_word(script)} {' '.join(map(quote_word, files))}"]


def _write_advice(boot: Boot, words: str, removed: str) -> str:
    """Returns in words how to change an entry that is written by hand, and what makes the menu of it."""
    file, _, line = boot.place.rpartition(":")
    wrong = dict.fromkeys(match[0] for match in re.finditer(rf"(?<!\S)(?:{removed})", boot.coming.value or ""))
    out = f"take out {' '.join(wrong)} and " if wrong else ""
    advice = f"in {file}, line {line}, the kernel of the default entry: {out}add {words}"
    if file.endswith("/custom.cfg"):  # GRUB itself reads it
        return advice
    return f"{advice}\nthen {'update-grub' if boot.menu == 'grub' else _MAKE_GRUB2}"


def _write_bls_fix(boot: Boot, words: str, removed: str) -> str:
    """Returns the command that changes the options of all entries, which no menu that is made anew changes.

    grubby(8) takes arguments out by their name, and those with their value out that may be there more than once.
    """
    wrong: dict[str, None] = {}
    for match in re.finditer(rf"(?<!\S)(?:{removed})", boot.coming.value or ""):
        parts = match[0].split()
        wrong.update(dict.fromkeys(parts if len(parts) > 1 else [parts[0].partition("=")[0]]))
    out = f" --remove-args={quote_word(' '.join(wrong))}" if wrong else ""
    return f"grubby --update-kernel=ALL{out} --args={quote_word(words)}"


def _comes_to(boot: Boot, line: str, is_good: Callable[[str], bool]) -> bool:
    """Returns whether the files come to what is wanted once the desk's own has one more line."""
    text = "\n".join([boot.sources.get(_desk.GRUB, ""), line, ""])
    found = grub_default.evaluate(dict(sorted({**boot.sources, _desk.GRUB: text}.items())))
    return found.line is not None and is_good(found.line)


def write_pages_fix(boot: Boot, size: str, counts: dict[str, int], is_good: Callable[[str], bool]) -> list[str]:
    """Returns commands that have the kernel reserve pages of a size at boot, `counts` by node.

    Of a kernel that may not take numbers for each node the host has one node alone.
    """
    shown = ",".join(f"{node.removeprefix('node')}:{count}" for node, count in counts.items())
    if boot_pages.takes_nodes(boot.coming_release) is not True and len(counts) == 1:
        shown = str(*counts.values())
    removed = rf"(default_)?hugepagesz={size} +hugepages=[0-9:,]+|hugetlb_cma=[^ \"']+"
    return write_argument_fix(boot, f"hugepagesz={size} hugepages={shown}", removed, is_good).split("\n")
