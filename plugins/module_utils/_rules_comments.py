# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: comments in rule files that switch checks off, in our own form and in pint's."""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._rules_checks import CHECKS
from ansible_collections.scs.observer.plugins.module_utils._rules_formats import Finding, Group, Rule
from ansible_collections.scs.observer.plugins.module_utils._rules_read import Source

PINT = {name: {check for check, about in CHECKS.items() if name in about.pint} for about in CHECKS.values() for name in about.pint}
_COMMENT = re.compile(r"#\s*(pint|scs-observer)\s+(file/)?(disable|snooze)\s+(.+?)\s*$", re.MULTILINE)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[-+]\d\d:\d\d))?)\s+(.*)")


class Comments:
    """What is switched off in one source, for all of it and for each rule."""

    def __init__(self, source: Source, groups: t.Iterable[Group], now: datetime.datetime) -> None:
        self.findings: list[Finding] = []
        self._file: set[str] = set()
        self._rules: dict[int, set[str]] = {}
        found = list(_COMMENT.finditer(source.text))
        if not found:
            return
        rules = sorted((rule for group in groups for rule in group.rules), key=lambda rule: rule.node.line)
        for match in found:
            checks = self._checks(source, match, now)
            if match.group(2):
                self._file |= checks
                continue
            rule = self._rule(source, rules, source.line_of(match.start()))
            if rule is not None:
                self._rules.setdefault(id(rule), set()).update(checks)

    def off(self, check: str, rule: Rule | None) -> bool:
        return check in self._file or (rule is not None and check in self._rules.get(id(rule), ()))

    def _checks(self, source: Source, match: re.Match[str], now: datetime.datetime) -> set[str]:
        form, _of_file, verb, rest = match.groups()
        if verb == "snooze":
            dated = _DATE.match(rest)
            if dated is None:
                return set()
            until = datetime.datetime.fromisoformat(dated.group(1).replace("Z", "+00:00"))
            if (until if until.tzinfo else until.replace(tzinfo=datetime.UTC)) < now:
                return set()
            rest = dated.group(2)
        if form == "pint":
            # arguments in brackets are narrower; here the check is switched off altogether
            return PINT.get(re.split(r"[\s(]", rest, maxsplit=1)[0], set())
        names = [name.strip() for name in rest.split(":", 1)[0].split(",")]
        for name in names:
            if name not in CHECKS:
                message = f"There is no check {name[:60]}."
                place = (source.line_of(match.start()) + 1, 1)
                remedy = "Write: # scs-observer disable cluster-join: why. The checks are listed in docs/alert_rules_check.md."
                self.findings.append(Finding("comment", source, None, message, remedy, place=place))
        return {name for name in names if name in CHECKS}

    @staticmethod
    def _rule(source: Source, rules: list[Rule], line: int) -> Rule | None:
        """The rule that has the line, or the next one, when nothing but comments lies between."""
        for rule in rules:
            if rule.node.line <= line <= rule.node.end_line:
                return rule
            if rule.node.line > line:
                between = range(line, rule.node.line)
                return rule if all(source.line_text(number).lstrip().startswith("#") for number in between) else None
        return None
