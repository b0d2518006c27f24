#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep the files and running kernel values of one concern, and be able to put back what was there before."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import hosttune_record
from ..module_utils.hosttune_diff import describe, diffs
from ..module_utils.hosttune_files import LABEL, MOST, Host, Refused
from ..module_utils.hosttune_record import Record, check_path, mark, same

if TYPE_CHECKING:  # Python 3.9 on a host would not evaluate these
    from ..module_utils.hosttune_diff import FileChanges, ValueChanges
    from ..module_utils.hosttune_files import Entry

#: Bytes of a path (path_resolution(7)), and of what the kernel takes as a value (sysfs(5)).
PATH_MAX = PAGE = 4096


def look(host: Host, path: str) -> Entry:
    """Returns what is at a path that shall be written to."""
    found = host.look(path)
    if found is not None and "kind" in found:
        raise Refused(f"{path}: found {found['kind']}, allowed: a regular file, a link, or nothing")
    return found


class Plan:
    """What a run has to change, and what it leaves.

    files, values: path to (what is there, what shall be there). left: paths that are not put back. conflicts: of these,
    path to the reason where somebody else changed what was written.
    """

    def __init__(self) -> None:
        self.files: FileChanges = {}
        self.values: ValueChanges = {}
        self.left: list[str] = []
        self.conflicts: dict[str, str] = {}

    def want(self, host: Host, files: Mapping[str, Entry]) -> None:
        for path, after in files.items():
            found = look(host, path)
            if not same(found, after):
                self.files[path] = (found, after)

    def put_back_files(self, host: Host, record: Record, paths: Iterable[str]) -> None:
        for path in paths:
            found = host.look(path)
            whose = record.whose(path, found)
            if whose == "ours":
                self.files[path] = (found, record.files[path])
            elif whose == "theirs":
                self.leave(path, f"found {describe(found)}, which the role did not write; it stays as it is")

    def put_back_values(self, host: Host, record: Record, paths: Iterable[str]) -> None:
        for path in paths:
            past = record.values[path]
            if past is None:
                self.left.append(path)
                continue
            try:
                found = host.value(path)
            except Refused:  # gone with its device or module, and so is our value
                continue
            whose = record.whose_value(path, found)
            if whose == "ours":
                self.values[path] = (found, past)
            elif whose == "theirs":
                self.leave(path, f"found {found!r}, which the role did not write; it stays, and before it was {past!r}")

    def leave(self, path: str, reason: str) -> None:
        self.left.append(path)
        self.conflicts[path] = reason


def plan_present(host: Host, record: Record, files: dict[str, Entry], values: dict[str, str] | None) -> Plan:
    """Returns what has to change. Raises :class:`Refused` with all values that this host does not have.

    values: None leaves the running kernel alone, and so for all functions here.
    """
    plan = Plan()
    plan.put_back_files(host, record, [path for path in record.files if path not in files])
    plan.want(host, files)
    if values is None:
        return plan
    dropped = [path for path, past in record.values.items() if path not in values and past is not None]
    plan.put_back_values(host, record, dropped)
    problems: list[str] = []
    for path, after in values.items():
        try:
            before = host.value(path)
        except Refused as problem:
            problems.append(str(problem))
            continue
        if before != after:
            plan.values[path] = (before, after)
    if problems:
        raise Refused("; ".join(problems))
    return plan


def was_baked(host: Host, record: Record, files: Iterable[str]) -> bool:
    """Tell whether our files came with the image: they are there, and nobody recorded what was before."""
    return not record.exists and any(host.look(path) for path in files if "hosttune" in path)


def plan_absent(host: Host, record: Record, files: dict[str, Entry], values: dict[str, str] | None) -> Plan:
    """Returns what has to change to undo the concern."""
    plan = Plan()
    if was_baked(host, record, files):
        plan.want(host, {path: past_of_baked(host, path, after) for path, after in files.items()})
        plan.left += values or ()
        return plan
    plan.put_back_files(host, record, record.files)
    if values is not None:
        plan.put_back_values(host, record, record.values)
    for path, past in record.left.items():
        if (found := host.look(path)) is not None and not same(found, past):
            plan.leave(path, f"found {describe(found)}, left as it is by an earlier run")
    return plan


def past_of_baked(host: Host, path: str, after: Entry) -> Entry:
    found = host.look(path)
    return None if "hosttune" in path or same(found, after) else found


def remember(host: Host, record: Record, files: dict[str, Entry], values: dict[str, str] | None) -> None:
    """Add to the record what may be changed for the first time, and what may be written now."""
    baked = was_baked(host, record, files)
    for path, after in files.items():
        if path not in record.files:
            record.files[path] = past_of_baked(host, path, after) if baked else look(host, path)
            record.left.pop(path, None)
            record.applied[path] = []
        # Of a release that kept no marks the last one is not known, so any file there may be ours.
        if after is not None and path in record.applied:
            record.applied[path] = add(record.applied[path], mark(after))
        record.directories += [parent for parent in host.missing_parents(path) if parent not in record.directories]
    for path, wanted in (values or {}).items():
        if path not in record.values:
            record.values[path] = None if baked else host.value(path)
            record.written[path] = []
        if path in record.written:
            record.written[path] = add(record.written[path], wanted)


def add(known: list[Any], new: Any) -> list[Any]:
    return known if new in known else [*known, new]


def settle(host: Host, record: Record, plan: Plan, files: dict[str, Entry], values: dict[str, str] | None) -> None:
    """Have the record say what is there now: what was asked for, without what was put back or left."""
    record.left.update({path: record.files[path] for path in plan.conflicts if path in record.files})
    drop_resolved(host, record)
    gone = find_unused(record, files)
    gone.difference_update(host.drop_directories(gone))
    record.directories = [path for path in record.directories if path not in gone]
    record.files = {path: past for path, past in record.files.items() if path in files}
    record.applied = {path: [mark(entry)] for path, entry in files.items() if entry is not None}
    if values is not None:
        record.values = {path: past for path, past in record.values.items() if path in values}
        record.written = {path: [text] for path, text in values.items()}


def drop_resolved(host: Host, record: Record) -> None:
    """Forget files that were left, and are gone now or what they were before."""
    for path, past in list(record.left.items()):
        if (found := host.look(path)) is None or same(found, past):
            del record.left[path]


def find_unused(record: Record, files: Iterable[str]) -> set[str]:
    """Returns the directories that a role made, or that are hosttune's own, and that hold none of the files."""
    ours = {
        path[: end.start()]
        for path in record.files
        for end in re.finditer("/", path)
        if "/hosttune" in path[: end.start()]
    }
    return {path for path in ours | set(record.directories) if not is_above(path, files)}


def is_above(directory: str, files: Iterable[str]) -> bool:
    return any(path.startswith(f"{directory}/") for path in files)


def apply_files(host: Host, changes: FileChanges) -> None:
    for path, (before, after) in changes.items():
        if after is not None:
            host.make_parents(path)
            label = (before or {}).get("xattrs", {}).get(LABEL)
            if label and "xattrs" not in after and "content" in after:
                after = {**after, "xattrs": {LABEL: label}}
        host.put(path, after)


def apply_values(host: Host, changes: ValueChanges) -> None:
    """Write the values; those after a refused one are still written. Raises :class:`Refused` with all of them."""
    problems = []
    for path, (_, after) in changes.items():
        try:
            host.set_value(path, after)
        except Refused as problem:
            problems.append(str(problem))
    if problems:
        raise Refused("; ".join(problems))


def try_values(host: Host, record: Record, changes: ValueChanges, new: bool) -> None:
    """Write the values, before any file asks the next boot for them.

    Raises :class:`Refused`, with the values put back and, of a record that is new, nothing left of the run.
    """
    try:
        apply_values(host, changes)
    except Refused:
        with contextlib.suppress(Refused):  # the first one is told
            apply_values(host, {path: (after, before) for path, (before, after) in changes.items()})
        if new:
            record.delete()
        raise


def normal_files(host: Host, files: Mapping[str, Any]) -> dict[str, Entry]:
    """Bring the `files` option into the shape of :meth:`Host.look`."""
    normal: dict[str, Entry] = {}
    for path, wanted in files.items():
        try:
            check_path(path)
        except ValueError as problem:
            raise Refused(f"files: {problem}") from None
        if isinstance(wanted, str):
            wanted = {"content": wanted}
        if not isinstance(wanted, dict):
            raise Refused(f"files: {path}: found {type(wanted).__name__}, allowed: text, or content and mode, or link")
        owner = {"uid": host.uid, "gid": host.gid}
        if set(wanted) == {"link"}:
            check_text(f"files: {path}: link", wanted["link"], PATH_MAX)
            if not wanted["link"] or "\0" in wanted["link"]:
                raise Refused(f"files: {path}: link: found {wanted['link']!r}, allowed: a path")
            normal[path] = {"link": wanted["link"], **owner}
        elif set(wanted) <= {"content", "mode"} and "content" in wanted:
            mode = wanted.get("mode", "0644")
            if not isinstance(mode, str) or not re.fullmatch("0[0-7]{3}", mode):
                raise Refused(f"files: {path}: mode: found {mode!r}, allowed: four octal digits such as '0644'")
            check_text(f"files: {path}: content", wanted["content"], MOST)
            normal[path] = {"content": wanted["content"], "mode": mode, **owner}
        else:
            raise Refused(f"files: {path}: expected content and mode, or link; found {sorted(map(str, wanted))}")
    for path in normal:
        if is_above(path, normal):
            raise Refused(f"files: {path} is asked for, and files below it")
    return normal


def check_text(name: str, text: Any, most: int) -> None:
    """Raises :class:`Refused` for what cannot be written, or not read again by the next run."""
    if not isinstance(text, str):
        raise Refused(f"{name}: found {type(text).__name__}, allowed: text")
    try:
        size = len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise Refused(f"{name}: found half a character, allowed: text of whole characters") from None
    if size > most:
        raise Refused(f"{name}: found {size:,} bytes, allowed: {most:,}")


def normal_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Bring the `values` option into the words that the kernel shows."""
    normal = {}
    for path, wanted in values.items():
        try:
            check_path(path, ("/proc/", "/sys/"))
        except ValueError as problem:
            raise Refused(f"values: {problem}") from None
        if isinstance(wanted, bool):
            raise Refused(f"values: {path}: {wanted} is a YAML boolean; quote kernel words")
        words = wanted if isinstance(wanted, list) else [wanted]
        for word in words:
            if isinstance(word, bool) or not isinstance(word, (str, int)):
                raise Refused(
                    f"values: {path}: found {type(word).__name__}, allowed: text or a whole number; quote others"
                )
        normal[path] = " ".join(" ".join(str(word).split()) for word in words)
        if not re.fullmatch("[!-~]+( [!-~]+)*", normal[path]):
            raise Refused(f"values: {path}: found {wanted!r}, allowed: words of ASCII characters")
        if len(normal[path]) >= PAGE:
            raise Refused(f"values: {path}: found {len(normal[path]):,} characters, allowed: fewer than {PAGE:,}")
    return normal


def run(
    host: Host,
    name: str,
    state: str,
    files: Mapping[str, Any],
    values: Mapping[str, Any],
    reload: Callable[[], object] | None = None,
    offline: bool = False,
    check: bool = False,
    wait: float = hosttune_record.WAIT,
) -> dict[str, Any]:
    """Do, or in check mode only plan, everything. Returns the module's result; raises :class:`Refused`.

    `reload` is called after files were changed; None if there is nobody to tell. `wait`: seconds for the lock.
    """
    wanted_files = normal_files(host, files)
    all_values = normal_values(values)
    wanted_values = None if offline else all_values
    with hosttune_record.lock(host, name, check=check, wait=wait):
        record = Record(host, name)
        resumed = state == "present" and record.pending and reload is not None
        plan = (plan_present if state == "present" else plan_absent)(host, record, wanted_files, wanted_values)
        if not check:
            for directory in sorted({os.path.dirname(path) for path in [record.path, *record.files, *wanted_files]}):
                host.sweep(directory)
            if state == "absent":
                revert(host, record, plan, wanted_files, None if offline else reload)
            elif offline and not record.exists:
                apply_files(host, plan.files)
            else:
                converge(host, record, plan, wanted_files, wanted_values, reload)
    return {
        "changed": bool(plan.files or plan.values or resumed),
        "paths": list(plan.files),
        "running": {path: {"before": before, "after": after} for path, (before, after) in plan.values.items()},
        "left": plan.left,
        "conflicts": plan.conflicts,
        "diff": diffs(plan.files, plan.values),
    }


def converge(
    host: Host,
    record: Record,
    plan: Plan,
    files: dict[str, Entry],
    values: dict[str, str] | None,
    reload: Callable[[], object] | None,
) -> None:
    """Apply a plan in an order that a killed run can be repeated from."""
    new = not record.exists
    remember(host, record, files, values)
    if reload and plan.files:
        record.pending = True
    record.save()
    try_values(host, record, plan.values, new)
    apply_files(host, plan.files)
    settle(host, record, plan, files, values)
    if record.pending and reload:
        reload()
        record.pending = False
    record.save()


def revert(
    host: Host, record: Record, plan: Plan, files: dict[str, Entry], reload: Callable[[], object] | None
) -> None:
    """Undo a plan in an order that a killed run can be repeated from."""
    apply_values(host, plan.values)
    apply_files(host, plan.files)
    if reload and (plan.files or record.files):
        reload()
    if not record.exists:
        record.files = dict.fromkeys(files)
    settle(host, record, plan, {}, {})
    record.pending = False
    if record.left:
        record.save()
    else:
        record.delete()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "files": {"type": "dict", "default": {}},
            "values": {"type": "dict", "default": {}},
            "reload_systemd": {"type": "bool", "default": False},
            "offline": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def reload() -> None:
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)

    options = {**module.params, "files": hosttune_record.add_statements(module.params["files"])}
    options["reload"] = reload if options.pop("reload_systemd") else None
    try:
        result = run(Host(), check=module.check_mode, **options)
    except Refused as problem:
        module.fail_json(msg=str(problem))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    for path, reason in result["conflicts"].items():
        module.warn(f"{path}: {reason}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
