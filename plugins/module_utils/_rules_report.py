# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: problems of rules, their order, their summary and the JUnit report."""

from __future__ import annotations

import collections
import dataclasses
import re
import typing as t
import xml.etree.ElementTree as ET

SEVERITIES = ("error", "warning", "info")


@dataclasses.dataclass(frozen=True)
class Problem:
    file: str
    line: int
    column: int
    group: str
    rule: str
    check: str
    severity: str
    message: str
    remedy: str

    @property
    def key(self) -> tuple[t.Any, ...]:
        return self.file, self.line, self.column, SEVERITIES.index(self.severity), self.check, self.message

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message} ({self.check}{f', {self.rule}' if self.rule else ''}) {self.remedy}"


def severe(problems: t.Iterable[Problem], fail_on: str) -> list[Problem]:
    """Those at least as severe as fail_on; none for never."""
    if fail_on == "never":
        return []
    least = SEVERITIES.index(fail_on)
    return [problem for problem in problems if SEVERITIES.index(problem.severity) <= least]


def junit(cases: t.Mapping[str, t.Sequence[tuple[str, str]]], problems: t.Sequence[Problem], fail_on: str) -> str:
    """A suite for each file, a case for each rule (group and name) and one for the file itself; what does not fail the task is output of its case."""
    failing = set(severe(problems, fail_on))
    of_case: dict[tuple[str, str, str], list[Problem]] = collections.defaultdict(list)
    for problem in problems:
        of_case[problem.file, problem.group, problem.rule].append(problem)
    root = ET.Element("testsuites", name="alert_rules_check")
    files = list(cases) + [file for file in dict.fromkeys(problem.file for problem in problems) if file not in cases]
    total = failures = 0
    for file in files:
        suite = ET.SubElement(root, "testsuite", name=clean(file))
        names = dict.fromkeys([("", ""), *cases.get(file, ()), *((problem.group, problem.rule) for problem in problems if problem.file == file)])
        failed = 0
        for group, rule in names:
            case = ET.SubElement(suite, "testcase", classname=clean(group or file), name=clean(rule or group or "file"))
            found = of_case.get((file, group, rule), [])
            bad = [problem for problem in found if problem in failing]
            if bad:
                failed += 1
                failure = ET.SubElement(case, "failure", message=clean(bad[0].message), type=bad[0].check)
                failure.text = clean("\n".join(map(str, bad)))
            rest = [problem for problem in found if problem not in failing]
            if rest:
                ET.SubElement(case, "system-out").text = clean("\n".join(map(str, rest)))
        suite.set("tests", str(len(names)))
        suite.set("failures", str(failed))
        total, failures = total + len(names), failures + failed
    root.set("tests", str(total))
    root.set("failures", str(failures))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def clean(text: str) -> str:
    """Without what XML can not hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
