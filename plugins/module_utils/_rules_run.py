# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: a whole check of rules, from paths to a report."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import fnmatch
import gc
import pathlib
import re
import time
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import (
    _promql,
    _rules_checks,
    _rules_comments,
    _rules_formats,
    _rules_live,
    _rules_promql,
    _rules_promtool,
    _rules_read,
    _rules_report,
)
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._rules_checks import CHECKS
from ansible_collections.scs.observer.plugins.module_utils._rules_formats import Finding, Rule, RuleSet
from ansible_collections.scs.observer.plugins.module_utils._rules_promtool import Error
from ansible_collections.scs.observer.plugins.module_utils._rules_report import Problem

OFF = "off"


@dataclasses.dataclass(frozen=True)
class Options:
    paths: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()  # texts
    tests: tuple[str, ...] = ()
    promtool: str = "promtool"
    dialect: str = "thanos"
    max_file_size: float = 10  # MiB
    timeout: float = 120
    checks: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    exceptions: tuple[t.Mapping[str, str], ...] = ()
    settings: _rules_checks.Settings = dataclasses.field(default_factory=_rules_checks.Settings)


@dataclasses.dataclass(frozen=True)
class Report:
    problems: list[Problem]
    cases: dict[str, list[tuple[str, str]]]
    rules: int
    alerts: int
    groups: int
    skipped: int
    promtool: bool

    def summary(self) -> dict[str, t.Any]:
        severities = collections.Counter(problem.severity for problem in self.problems)
        counts = {"files": len(self.cases), "groups": self.groups, "rules": self.rules, "alerts": self.alerts, "skipped": self.skipped}
        checks = dict(sorted(collections.Counter(problem.check for problem in self.problems).items()))
        return {**counts, **{name: severities[name] for name in _rules_report.SEVERITIES}, "checks": checks}


def check(options: Options, backend: _promql.Backend | None = None) -> Report:
    if not _rules_promql.available():
        message = f"The Python library promql-parser can not be used where this task runs ({_rules_promql.IMPORT_ERROR})."
        raise ObserverError(f"{message} Install it there: pip install 'promql-parser>=0.11'.")
    _check_options(options)
    # Hundreds of thousands of small objects that live until the end: looking for cycles among them would take a quarter of the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _Run(options, backend).report()
    finally:
        if collects:
            gc.enable()


def _check_options(options: Options) -> None:
    for name, severity in options.checks.items():
        if name not in CHECKS:
            raise ObserverError(f"checks: there is no check {name}. There are: {', '.join(CHECKS)}.")
        if severity not in (*_rules_report.SEVERITIES, OFF):
            raise ObserverError(f"checks: {name} is {severity}. It is one of {', '.join((*_rules_report.SEVERITIES, OFF))}.")
    for exception in options.exceptions:
        if exception["check"] not in CHECKS:
            raise ObserverError(f"exceptions: there is no check {exception['check']}. There are: {', '.join(CHECKS)}.")
    for feature in options.settings.features:
        if feature not in _rules_promql.FEATURES:
            raise ObserverError(f"features: {feature} is none that changes PromQL. There are: {', '.join(_rules_promql.FEATURES)}.")
    patterns = [("known_metrics", pattern) for pattern in options.settings.known_metrics]
    for option, pattern in [*patterns, ("runbook_url", options.settings.runbook_url)]:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ObserverError(f"{option}: {pattern} is not a regular expression: {error}. Correct it.") from error


class _Run:
    def __init__(self, options: Options, backend: _promql.Backend | None) -> None:
        self._options, self._backend = options, backend
        self._end = time.monotonic() + options.timeout
        self._reader = _rules_formats.Reader(options.dialect)
        self._checker = _rules_checks.Checker(options.settings)
        self._findings: list[Finding] = []
        self._problems: list[Problem] = []
        self._files: list[str] = []
        self._program = _rules_promtool.find(options.promtool)

    def report(self) -> Report:
        self._read()
        sets = self._reader.sets
        with contextlib.ExitStack() as stack:
            judged = [(one, text) for one in sets if (text := one.text()) is not None] if self._program else []
            judge = None
            if judged and self._program:
                judge = stack.enter_context(_rules_promtool.RuleCheck(self._program, [text for _one, text in judged], self._options.settings.features))
            self._check_rules(sets)
            if judge is not None:
                for (one, _text), errors in zip(judged, judge.errors(self._left()), strict=True):
                    self._reconcile(one, errors)
        self._test()
        self._ask()
        return self._finished(sets)

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise ObserverError(f"The check was not done after {self._options.timeout:g} s. Check fewer files at once, or raise timeout.")
        return left

    def _read(self) -> None:
        options = self._options
        limit = int(options.max_file_size * 2**20)
        for file in _rules_read.expand(options.paths, "paths"):
            self._files.append(file)
            try:
                text = _rules_read.read(file, limit)
            except _rules_read.Unreadable as error:
                self._findings.append(Finding(error.check, _rules_read.Source(file, ""), None, error.message, error.remedy, place=error.place))
                continue
            self._reader.read(_rules_read.Source(file, text))
            self._left()
        for number, text in enumerate(options.rules):
            name = f"rules[{number}]"
            self._files.append(name)
            source = _rules_read.Source(name, text)
            if len(text) > limit:
                message = _rules_read.too_large(len(text), limit)
                self._findings.append(Finding("file", source, None, message, "Split it, or raise max_file_size."))
                continue
            self._reader.read(source)
        self._findings += self._reader.findings

    def _check_rules(self, sets: list[RuleSet]) -> None:
        checker = self._checker
        for one in sets:
            for group in one.groups:
                self._findings += checker.group(group)
                for number, rule in enumerate(group.rules):
                    if number % 50 == 0:
                        self._left()
                    self._findings += self._guarded(rule, checker.rule(rule))
        self._findings += checker.finish()

    def _guarded(self, rule: Rule, found: t.Iterator[Finding]) -> t.Iterator[Finding]:
        try:
            yield from found
        except RecursionError:
            message = "The expression is nested too deep to be looked into."
            yield Finding("not-checked", rule.group.of.source, rule.expr_node or rule.node, message, "Split it by recording rules.", rule.group, rule)

    def _reconcile(self, one: RuleSet, errors: list[Error]) -> None:
        """promtool is right: what it accepts is no error, and what it refuses is one."""
        own = [finding for finding in self._findings if finding.of is one and CHECKS[finding.check].verdict]
        if not own and not errors:
            return
        dropped: list[Finding] = []
        if not errors:
            dropped = own
        elif any(error.group is not None for error in errors):
            # it read the file as a whole, and so looked at each rule
            refused = {(error.group, error.rule) for error in errors}
            dropped = [finding for finding in own if finding.rule and (finding.rule.group.name, finding.rule.number) not in refused]
        gone = {id(finding) for finding in dropped}
        self._findings = [finding for finding in self._findings if id(finding) not in gone]
        for finding in dropped:
            message = f"promtool accepts this, so it is no error here: {finding.message}"
            self._findings.append(dataclasses.replace(finding, check="not-checked", message=message, remedy="Look at it; other checks were not made of it."))
        left = [finding for finding in own if id(finding) not in gone]
        for error in errors:
            self._refused(one, error, left)

    def _refused(self, one: RuleSet, error: Error, own: list[Finding]) -> None:
        source = one.source
        if error.group is None:
            if not any(finding.rule is None or finding.check in ("schema", "duplicate-key", "durations", "yaml") for finding in own):
                place = error.place if one.whole and not one.thanos else None
                self._findings.append(Finding("promtool", source, one.root, f"promtool: {error.message}", "Correct it.", place=place, of=one))
            return
        rules = [group.rules for group in one.groups if group.name == error.group and len(group.rules) >= error.rule]
        rule = rules[0][error.rule - 1] if rules else None
        mine = [finding for finding in own if finding.rule is rule]
        parsing = re.match(r"could not parse expression: (?:(\d+):(\d+): )?(?:parse error: )?(.*)", error.message)
        if parsing and rule is not None:
            line, column, text = parsing.groups()
            offset = _offset(rule.expr, int(line), int(column)) if line else 0
            for finding in mine:
                if finding.check == "promql-syntax":
                    # it knows the place, and says it in the words of Prometheus
                    finding.message, finding.offset = f"The expression is not PromQL: {text}.", offset
                    return
            if not any(finding.check == "experimental" for finding in mine):
                message = f"The expression is not PromQL: {text}."
                self._findings.append(Finding("promql-syntax", source, rule.expr_node, message, "Correct it.", rule.group, rule, offset, of=one))
            return
        if not mine:
            named = rule or None
            self._findings.append(
                Finding("promtool", source, rule.node if rule else one.root, f"promtool: {error.message}.", "Correct it.", rule and rule.group, named, of=one)
            )

    def _test(self) -> None:
        options = self._options
        if not options.tests:
            return
        files = _rules_read.expand(options.tests, "tests")
        self._files += [file for file in files if file not in self._files]
        if self._program is None:
            for file in files:
                self._raw(file, "test-failed", "The tests were not run: promtool is not in PATH.", "Install promtool, or set the option promtool to its path.")
        else:
            for result in _rules_promtool.test_rules(self._program, files, options.settings.features, self._left()):
                if result.message:
                    self._raw(result.file, "test-failed", f"promtool test rules: {result.message[:2000]}", "Correct the test or the rule.")
        tested: set[str] = set()
        for file in files:
            with contextlib.suppress(_rules_read.Unreadable):
                text = _rules_read.read(file, int(options.max_file_size * 2**20))
                for document in _rules_read.documents(text):
                    tested |= _fired(document.root)
        for rule in self._rules():
            if rule.kind == "alert" and rule.name not in tested:
                message = "No test expects the alert to fire."
                node = rule.fields["alert"]
                remedy = "Add an alert_rule_test with exp_alerts to a file of tests."
                self._findings.append(Finding("alert-untested", rule.group.of.source, node, message, remedy, rule.group, rule))

    def _raw(self, file: str, check: str, message: str, remedy: str) -> None:
        self._findings.append(Finding(check, _rules_read.Source(file, ""), None, message, remedy))

    def _rules(self) -> t.Iterator[Rule]:
        for one in self._reader.sets:
            for group in one.groups:
                yield from group.rules

    def _ask(self) -> None:
        if self._backend is None:
            return
        used: dict[str, list[tuple[Rule, _rules_promql.Node]]] = {}
        for rule, root in self._checker.parsed:
            for node in root.walk():
                if node.kind == "selector":
                    used.setdefault(_rules_live.written(node), []).append((rule, node))
        for selector, refused in _rules_live.missing(self._backend, list(used)).items():
            for rule, node in used[selector]:
                if refused:
                    found = self._checker._at(rule, "live-query", node, refused, "Correct the selector, or switch this check off.")
                else:
                    message = f"{selector} finds no series at {self._backend.title}."
                    found = self._checker._at(rule, "live-series", node, message, "Check names and labels; some series exist only while something is wrong.")
                self._findings.append(found)

    def _finished(self, sets: list[RuleSet]) -> Report:
        now = datetime.datetime.now(datetime.UTC)
        sources: dict[int, tuple[_rules_read.Source, list[_rules_formats.Group]]] = {}
        for one in sets:
            sources.setdefault(id(one.source), (one.source, []))[1].extend(one.groups)
        comments = {key: _rules_comments.Comments(source, groups, now) for key, (source, groups) in sources.items()}
        found = self._findings + [finding for one in comments.values() for finding in one.findings]
        problems = set()
        for finding in found:
            severity = self._options.checks.get(finding.check, CHECKS[finding.check].severity)
            about = comments.get(id(finding.source))
            if severity == OFF or (about is not None and about.off(finding.check, finding.rule)) or self._excepted(finding):
                continue
            line, column = finding.where()
            group = finding.group.name if finding.group else ""
            rule = finding.rule.name if finding.rule else ""
            problems.add(Problem(finding.source.name, line, column, group, rule, finding.check, severity, finding.message, finding.remedy))
        cases: dict[str, list[tuple[str, str]]] = {file: [] for file in self._files}
        for rule in self._rules():
            cases[rule.group.of.source.name].append((rule.group.name, rule.name))
        rules = list(self._rules())
        return Report(
            sorted(problems, key=lambda problem: problem.key),
            cases,
            len(rules),
            sum(rule.kind == "alert" for rule in rules),
            sum(len(one.groups) for one in sets),
            self._reader.skipped,
            self._program is not None,
        )

    def _excepted(self, finding: Finding) -> bool:
        file = finding.source.name
        group, rule = finding.group.name if finding.group else "", finding.rule.name if finding.rule else ""
        values = {"file": (file, pathlib.PurePath(file).name), "group": (group,), "rule": (rule,)}
        return any(
            exception["check"] == finding.check
            and all(any(fnmatch.fnmatchcase(value, exception.get(name) or "*") for value in given) for name, given in values.items())
            for exception in self._options.exceptions
        )


def _offset(text: str, line: int, column: int) -> int:
    """promtool counts columns in bytes; which matters little."""
    lines = text.split("\n")
    return sum(len(one) + 1 for one in lines[: line - 1]) + min(column - 1, len(lines[line - 1]) if line <= len(lines) else 0)


def _fired(root: _rules_read.Node) -> set[str]:
    """The alerts that a test file expects to fire."""
    found: set[str] = set()

    def items(node: _rules_read.Node, name: str) -> t.Iterator[_rules_read.Node]:
        for key, value in node.children if node.kind == "map" else ():
            if key.value == name:
                yield from value.children if value.kind == "list" else [value]

    for test in items(root, "tests"):
        for case in items(test, "alert_rule_test"):
            if any(True for one in items(case, "exp_alerts") if one.kind == "map"):
                found |= {name.value for name in items(case, "alertname")}
    return found
