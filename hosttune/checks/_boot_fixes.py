"""Commands that give the next boot what is wanted: lines of tmpfiles.d, and arguments of the kernel through GRUB."""

from __future__ import annotations

import re
from collections.abc import Callable

from hosttune.checks._hugepages_at_boot import Sources
from hosttune.findings import Hop
from hosttune.host import boot_writes, grub_default, tmpfiles, tmpfiles_lines
from hosttune.host.boot import Boot
from hosttune.output import quote_word

FILE = "/etc/tmpfiles.d/00-hosttune-hugepages.conf"


def write_late_fix(sources: Sources, hop: Hop, path: str, value: str) -> list[str]:
    """Returns commands after which the next boot writes a value to a path, whatever writes another one there today."""
    lines: list[str] = []
    services = sources.services.value or ()
    if hop.state == "bad" and hop.source == boot_writes.RC_LOCAL:
        # An empty command: what is around the line needs one.
        wrong = rf"\|\(>\|tee\) *{path}|s|.*|:|"
        lines.append(f"sed -i {quote_word(wrong)} {boot_writes.RC_LOCAL}")
    elif hop.state == "bad" and any(each.place == hop.source for each in services):
        unit = hop.source.partition(" (")[0]
        name = unit.partition(".d/")[0].rpartition("/")[2]
        lines.append(f"systemctl disable {quote_word(name)}")
    writes = sources.tmpfiles.value or tmpfiles.Writes()
    if hop.state == "bad" and hop.source.endswith(")") and " (vm." in hop.source:
        file, _, number = hop.source.partition(" (")[0].rpartition(":")
        lines.append(f"sed -i {number}d {quote_word(file)}")
    return [*lines, *_write_line(writes, path, value)]


def _write_line(writes: tmpfiles.Writes, path: str, value: str) -> list[str]:
    """Returns commands that make `w PATH - - - - VALUE` the last line for a path.

    systemd-tmpfiles goes by the order in which patterns are first named. Of the lines for one pattern the first keeps
    out those that say something else: where the path's own lines are the last ones, the first of them is changed; else
    all of them go, those too that were kept out.
    """
    text = f"w {path} - - - - {value}"
    found = writes.find(path)
    if not found:
        return [f"echo {quote_word(text)} >> {FILE}"]
    own = [line for line in (*found, *writes.ignored) if line.path == path and line.kind[0] == "w"]
    edits = {own[0]: f"c {text}"} if found[-1] in own else {found[-1]: f"a {text}", **dict.fromkeys(own, "d")}
    lines = []
    for file in dict.fromkeys(_split_place(line)[0] for line in edits):
        here = [f"{_split_place(line)[1]}{edit}" for line, edit in edits.items() if _split_place(line)[0] == file]
        target, copies = _choose_file(file)
        lines += [*copies, f"sed -i {' '.join(f'-e {quote_word(edit)}' for edit in here)} {quote_word(target)}"]
    return lines


def _split_place(line: tmpfiles_lines.Line) -> tuple[str, str]:
    file, _, number = line.place.rpartition(":")
    return file, number


def _choose_file(file: str) -> tuple[str, list[str]]:
    """Returns the file to edit, and the command that puts a copy of a vendor's file in its place."""
    if file.startswith("/etc/"):
        return file, []
    target = re.sub(r"^.*/tmpfiles\.d/", "/etc/tmpfiles.d/", file)
    return target, [f"cp {quote_word(file)} {quote_word(target)}"]


# --- arguments of the kernel ------------------------------------------------------------------------------

#: A drop-in of the desk's own, that sorts behind all others. No role owns it, so none drops what was added.
DROP_IN = "/etc/default/grub.d/zz-desk.cfg"
_DIRECTORY = "/etc/default/grub.d/"


def write_argument_fix(boot: Boot, words: str, removed: str, is_good: Callable[[str], bool]) -> str:
    """Returns commands that put `words` into the menu of GRUB; `removed` is a pattern of what they replace.

    `is_good` tells whether a command line has what is wanted. Where the files ask for it already, what is missing is to
    make the menu again; where a later file takes it away, that file has to come first.
    """
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
    lines = []
    files = [path for path, text in boot.sources.items() if re.search(removed, text)]
    if files:
        script = f"s/(^|[ \"'])({removed})/\\1/g"
        lines.append(f"sed -i -E {quote_word(script)} {' '.join(map(quote_word, files))}")
    variable = grub_default.VARIABLES[1]
    added = f'{variable}="${variable} {words}"'
    lines.append(f"echo {quote_word(added)} >> {DROP_IN}")
    return "\n".join([*lines, "update-grub"])


def write_pages_fix(boot: Boot, size: str, counts: dict[str, int], is_good: Callable[[str], bool]) -> list[str]:
    """Returns commands that have the kernel reserve pages of a size at boot, `counts` by node."""
    shown = ",".join(f"{node.removeprefix('node')}:{count}" for node, count in counts.items())
    removed = f"(default_)?hugepagesz={size} +hugepages=[0-9:,]+"
    return write_argument_fix(boot, f"hugepagesz={size} hugepages={shown}", removed, is_good).split("\n")
