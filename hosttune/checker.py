"""Run the checks of a profile on a root: read everything first, then judge without touching the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from hosttune import stated
from hosttune.checks import _owners
from hosttune.findings import Finding, Hop, Host, Report, summarise_findings
from hosttune.hops import build_finding
from hosttune.host import identity
from hosttune.host.kept import reduce_root
from hosttune.host.root import Observed, Once, Root
from hosttune.profile import Profile, Section, list_kept

Result = TypeVar("Result")


def run_checks(profile: Profile, root: Root, observe: float | None = None) -> Report:
    """Return the report on one host, of which nothing is read but what a snapshot keeps.

    `observe`: seconds between two samples for the checks that have something to watch; None reads once.
    A check that raises, or that has nothing to say, becomes one `unknown` finding with the section's name.
    """
    root = reduce_root(root, list_kept(profile.sections))
    host: Host = {
        **identity.read(root),
        "time": root.taken,
        "source": root.source,
        "profile": profile.source,
    }
    runs = [_Run(section) for section in profile.sections]
    once = Once(root)
    for one in runs:
        one.read(once)
    failed: list[Finding] = []
    owners = _attempt("other_owners", failed, _owners.read, once)
    if observe is not None and any(one.watches for one in runs):
        for one in runs:
            one.sample(root)
        second = root.later(observe)
        if second is not None:
            later, seconds = second
            for one in runs:
                one.sample_again(later, seconds)
    lost = _attempt("profile", failed, _check_stated, profile, once) or []
    findings = [finding for one in runs for finding in one.build_findings()]
    if owners is not None:
        findings = _attempt("other_owners", failed, _owners.judge, findings, owners) or findings
    return summarise_findings(host, [*lost, *findings, *failed])


def _attempt(name: str, failed: list[Finding], function: Callable[..., Result], *arguments: Any) -> Result | None:
    """Returns what a function returns; None if it raises, and then `failed` has an unknown finding more."""
    try:
        return function(*arguments)
    except Exception as error:
        failed.append(_report_failure(name, None, error))
        return None


def _check_stated(profile: Profile, root: Root) -> list[Finding]:
    return [] if profile.own is None else list(stated.check(profile, stated.read(root, profile.own)))


class _Run:
    """One section on its way through read, sample and check; the first exception ends it."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.facts: Any = None
        self.before: Any = None
        self.observed: Observed[Any] | None = None
        self.failure: Exception | None = None

    @property
    def watches(self) -> bool:
        return self.failure is None and hasattr(self.section.module, "sample")

    def read(self, root: Root) -> None:
        try:
            self.facts = self.section.module.facts(root, self.section.wanted)
        except Exception as error:
            self.failure = error

    def sample(self, root: Root) -> None:
        if self.watches:
            try:
                self.before = self.section.module.sample(root)
            except Exception as error:
                self.failure = error

    def sample_again(self, root: Root, seconds: float) -> None:
        if self.watches:
            try:
                self.observed = Observed(self.before, self.section.module.sample(root), seconds)
            except Exception as error:
                self.failure = error

    def build_findings(self) -> list[Finding]:
        section = self.section
        if self.failure is None:
            try:
                found: list[Finding] = section.module.check(section.wanted, self.facts, self.observed)
            except Exception as error:
                self.failure = error
            else:
                return [_add_intended(finding, section) for finding in found] or [_report_nothing(section)]
        return [_report_failure(section.name, msgspec.to_builtins(section.wanted), self.failure)]


def _add_intended(finding: Finding, section: Section) -> Finding:
    """The first hop is the same for every knob: the place in the profile that asks for it."""
    if not finding.hops or "intended" in finding.hops:
        return finding
    hops = {"intended": Hop("ok", finding.wanted, section.place), **finding.hops}
    return msgspec.structs.replace(finding, hops=hops)


def _report_failure(name: str, wanted: Any, error: Exception) -> Finding:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return build_finding(
        name,
        wanted,
        {},
        status="unknown",
        found=f"the check failed: {type(error).__name__}: {error}{where}",
        why="nothing in this section was judged; this is a defect in the check, not in the host",
        fix="run `hosttune snapshot` and send the file with this line to the maintainers of the check",
    )


def _report_nothing(section: Section) -> Finding:
    return build_finding(
        section.name,
        msgspec.to_builtins(section.wanted),
        {},
        status="unknown",
        found="the section asks for nothing",
        why="a section without any wanted value cannot be verified",
        fix=f"give {section.name} at least one wanted value, or remove it from the profile",
    )
