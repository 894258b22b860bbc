# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: reads objects of several kinds from one Kubernetes API server."""

from __future__ import annotations

import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError, Client

Question = t.Mapping[str, t.Any]


def check(questions: t.Sequence[Question]) -> None:
    """ObserverError for what can't be asked, before anything is sent."""
    for number, question in enumerate(questions):
        if question.get("name") and question.get("label_selectors"):
            raise ObserverError(f"objects[{number}]: give name or label_selectors, not both.")


def read(client: Client, questions: t.Sequence[Question]) -> list[list[dict[str, t.Any]]]:
    """For each question the objects that are there, in its order; none is no error, no right to see them is one."""
    check(questions)
    return [_read(client, number, question) for number, question in enumerate(questions)]


def _read(client: Client, number: int, question: Question) -> list[dict[str, t.Any]]:
    api_version, kind = question.get("api_version") or "v1", question["kind"]
    namespace, name = question.get("namespace"), question.get("name")
    resource = client.resolve(api_version, kind)
    if resource is None:
        raise ObserverError(f"objects[{number}]: {client.server} knows no kind {kind} of {api_version}. Correct kind or api_version.")
    if name and resource.namespaced and not namespace:
        raise ObserverError(f"objects[{number}]: {kind} {name} needs a namespace.")
    if not name:
        return client.list(resource.path(namespace), labels=",".join(question.get("label_selectors") or []))
    try:
        return [client.request("GET", resource.path(namespace, name))]
    except ApiError as error:
        if error.status == 404:
            return []
        raise
