# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: desired + actual -> plan. Check mode, diff, C(changed) and messages all come from the plan."""

from __future__ import annotations

import dataclasses
import operator
import typing as t

Item = t.TypeVar("Item")
Action = t.Literal["create", "update", "delete", "keep"]


@dataclasses.dataclass(frozen=True)
class Step(t.Generic[Item]):
    """What happens to one item; C(before) is None for create, C(after) is None for delete."""

    name: str
    action: Action
    before: Item | None
    after: Item | None


@dataclasses.dataclass(frozen=True)
class Plan(t.Generic[Item]):
    """All steps in the order in which they are applied."""

    steps: tuple[Step[Item], ...]

    @property
    def changed(self) -> bool:
        return any(step.action != "keep" for step in self.steps)

    def of(self, *actions: Action) -> list[Step[Item]]:
        return [step for step in self.steps if step.action in actions]

    def names(self, action: Action) -> list[str]:
        return [step.name for step in self.of(action)]

    def diff(self, render: t.Callable[[Item], str]) -> list[dict[str, str]]:
        """One entry a changed item, as C(ansible-playbook --diff) shows it; C(render) gives the text of an item, secrets masked."""
        return [
            {
                "before_header": step.name,
                "after_header": step.name,
                "before": "" if step.before is None else render(step.before),
                "after": "" if step.after is None else render(step.after),
            }
            for step in self.of("create", "update", "delete")
        ]


def make_plan(
    desired: t.Mapping[str, Item],
    actual: t.Mapping[str, Item],
    *,
    prune: t.Callable[[str], bool] = lambda name: False,
    equal: t.Callable[[Item, Item], bool] = operator.eq,
) -> Plan[Item]:
    """Compare by name: what is desired is created, updated or kept, in its order; then what C(prune) allows of the rest is deleted."""
    steps: list[Step[Item]] = []
    for name, item in desired.items():
        if name not in actual:
            steps.append(Step(name, "create", None, item))
        else:
            action: Action = "keep" if equal(actual[name], item) else "update"
            steps.append(Step(name, action, actual[name], item))
    steps.extend(Step(name, "delete", item, None) for name, item in actual.items() if name not in desired and prune(name))
    return Plan(tuple(steps))
