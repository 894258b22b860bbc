# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real API server does too seldom; the rest is shown in tests/integration/test_kubernetes_manifests.py."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _manifests as m
from ansible_collections.scs.observer.plugins.module_utils import _manifests_sync as sync
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError, Client, Response

PATH = "/api/v1/namespaces/n/configmaps/a"


class Server(Client):
    """Answers from a dictionary C(METHOD path) -> answers in turn, the last one again and again."""

    def __init__(self, **answers):
        super().__init__("https://api", None, list)
        self.answers = {"GET /api/v1/namespaces/n": [{"metadata": {"name": "n"}}]}
        self.asked = []
        self.answer(**answers)

    def answer(self, **answers):
        self.answers |= {f"{key.split('_')[0]} {PATH}{'?dryRun' if key.endswith('_dry') else ''}": values for key, values in answers.items()}

    def send(self, method, path, *, query=None, **options):
        dry = "?dryRun" if (query or {}).get("dryRun") else ""
        self.requests += 1
        self.asked.append(f"{method} {path}{dry}")
        answers = self.answers.get(f"{method} {path}{dry}") or [error(404, "not found")]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Response) else Response(200, copy.deepcopy(answer))


def error(status, detail):
    return ApiError(detail, status=status, detail=detail)


def config_map(version="1", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": version}, "data": data}


def given(**data):
    return m.parse([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": data}])


def apply(server, manifests, **options):
    return sync.apply(server, manifests, sync.Options(**{"wait": False, **options}), sleep=lambda seconds: None)


NO_DRY_RUN = error(400, 'admission webhook "x" does not support dry run')


def test_a_webhook_that_refuses_dry_runs_does_not_hinder_planning():
    server = Server(PATCH_dry=[NO_DRY_RUN], GET=[config_map(x="1", other="2")], PATCH=[config_map(x="2")])
    assert apply(server, given(x="1")).unchanged == ["ConfigMap n/a"]
    assert apply(server, given(x="2")).updated == ["ConfigMap n/a"]
    assert server.asked[-1] == f"PATCH {PATH}"
    assert apply(Server(PATCH_dry=[NO_DRY_RUN], PATCH=[Response(201, config_map(x="1"))]), given(x="1")).created == ["ConfigMap n/a"]


def test_an_object_that_moved_on_since_it_was_listed_is_read_again():
    listed = config_map("1", x="old")
    listed["metadata"]["managedFields"] = [{"manager": m.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}]
    now = config_map("2", x="1")
    now["metadata"]["managedFields"] = listed["metadata"]["managedFields"]
    server = Server(PATCH_dry=[now], GET=[now])
    server.answers["GET /api/v1/namespaces/n/configmaps"] = [{"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": [listed]}]
    assert apply(server, given(x="1"), set_name="s").unchanged == ["ConfigMap n/a"]


def test_what_was_done_before_a_failure_is_told():
    service = m.parse([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}}])
    server = Server(PATCH_dry=[Response(201, config_map())], PATCH=[Response(201, config_map())])
    path = "/api/v1/namespaces/n/services/s"
    server.answers |= {f"PATCH {path}?dryRun": [Response(201, service[0].body)], f"PATCH {path}": [error(500, "etcd is full")]}
    with pytest.raises(
        sync.SyncError, match=r"Applying stopped:\n- Service n/s: etcd is full\.\nDone before: ConfigMap n/a\. Mend the cause and run again\."
    ) as caught:
        apply(server, [*service, *given(x="1")])
    assert caught.value.outcome.created == ["ConfigMap n/a"]
    assert [entry["before_header"] for entry in caught.value.outcome.diff] == ["ConfigMap n/a"]


def test_one_message_when_the_server_is_gone():
    with pytest.raises(ApiError, match=r"^gone$"):
        apply(Server(PATCH_dry=[error(0, "gone")]), given(x="1"))
    server = Server()
    server.answers["GET /api/v1/namespaces/n"] = [error(401, "who")]
    with pytest.raises(ApiError, match=r"^who$"):
        apply(server, given(x="1"))


def test_waiting_outlives_a_server_that_is_away_for_a_moment():
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n", "generation": 1}, "spec": {"replicas": 1}}
    done = {**deployment, "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}}
    path = "/apis/apps/v1/namespaces/n/deployments/d"
    server = Server()
    server.answers |= {f"PATCH {path}?dryRun": [Response(201, deployment)], f"PATCH {path}": [Response(201, deployment)]}
    server.answers[f"GET {path}"] = [error(0, "connection refused"), error(503, "starting"), deployment, done]
    assert apply(server, m.parse([deployment]), wait=True, wait_timeout=60).created == ["Deployment n/d"]
    assert server.asked.count(f"GET {path}") == 4


def test_gone_means_that_very_object():
    successor = config_map(x="1")
    successor["metadata"]["uid"] = "another"
    server = Server(GET=[config_map(x="1"), config_map(x="1"), successor], DELETE=[{}])
    done = sync.remove(server, given(x="1"), sync.Options(wait_timeout=60), sleep=lambda seconds: None)
    assert done.deleted == ["ConfigMap n/a"]


def test_what_does_not_go_is_named_with_its_finalizers():
    held = config_map(x="1")
    held["metadata"]["finalizers"] = ["example.org/hold"]
    with pytest.raises(ObserverError, match=r"Not gone after 0 s:\n- ConfigMap n/a: still there, held by finalizers example.org/hold"):
        sync.remove(Server(GET=[held], DELETE=[{}]), given(x="1"), sync.Options(wait_timeout=0), sleep=lambda seconds: None)


def test_what_is_on_its_way_out_is_not_deleted_again():
    leaving = config_map(x="1")
    leaving["metadata"]["deletionTimestamp"] = "now"
    server = Server(GET=[leaving])
    done = sync.remove(server, given(x="1"), sync.Options(wait=False), sleep=lambda seconds: None)
    assert not done.changed
    assert not [asked for asked in server.asked if asked.startswith("DELETE")]


@pytest.mark.parametrize(
    ("params", "message"),
    [({"prune": True}, "prune needs the option 'set'"), ({"set": "a b"}, "no label value")],
)
def test_options_are_checked(params, message):
    defaults = {"set": None, "namespace": None, "prune": False, "keep": [], "wait": True, "wait_timeout": 300, "force_conflicts": False}
    with pytest.raises(ObserverError, match=message):
        sync.options({**defaults, **params}, check_mode=False)
    assert sync.options({**defaults, "keep": ["Secret"]}, check_mode=True) == sync.Options(keep=frozenset({"Secret"}), check_mode=True)
