# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module kubernetes_objects_info against a real API server."""

from __future__ import annotations

import pytest

MODULE = "scs.observer.kubernetes_objects_info"


@pytest.fixture(name="space")
def fixture_space(cluster):
    namespace = cluster.namespace()
    assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})[0] == 201
    for name, labels in (("a", {"app": "x", "tier": "front"}), ("b", {"app": "x"}), ("c", {"app": "y"})):
        body = {"metadata": {"name": name, "labels": labels}, "data": {"is": name}}
        assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)[0] == 201
    return namespace


def test_many_questions_in_one_task(cluster, space, run_playbook):
    here = {"kind": "ConfigMap", "namespace": space}
    questions = [
        {**here, "name": "a"},
        {**here, "name": "none"},
        {**here, "label_selectors": ["app=x", "tier!=front"]},
        {"kind": "ConfigMap", "label_selectors": ["app in (x,y)", "tier"]},
        {"kind": "Namespace", "name": space},
        {"api_version": "apps/v1", "kind": "Deployment", "namespace": "no-such-namespace"},
        # not of the built-in kinds, so it has to be looked for
        {"api_version": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "name": "exempt"},
    ]
    done = run_playbook(MODULE, {"kubeconfig": cluster.kubeconfig, "objects": questions}, "--check")
    assert done.code == 0 and not done.result["failed"], done.output
    named = [[item["metadata"]["name"] for item in entry["resources"]] for entry in done.result["answers"]]
    assert named == [["a"], [], ["b"], ["a"], [space], [], ["exempt"]]
    first = done.result["answers"][0]["resources"][0]
    assert (first["apiVersion"], first["kind"], first["data"]) == ("v1", "ConfigMap", {"is": "a"})
    assert not done.result["changed"]
    assert done.result["requests"] == len(questions) + 1


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"kind": "Secret", "name": "a"}, "objects[0]: Secret a needs a namespace"),
        ({"kind": "ConfigMap", "name": "a", "label_selectors": ["a"]}, "objects[0]: give name or label_selectors, not both"),
        ({"kind": "Nothing"}, "knows no kind Nothing of v1. Correct kind or api_version"),
        ({"api_version": "example.com/v1", "kind": "Pod"}, "knows no kind Pod of example.com/v1"),
        ({"kind": "Pod", "label_selectors": ["=x"]}, "GET /api/v1/pods failed on https"),
        ({"namespace": "a"}, "missing required arguments: kind"),
    ],
)
def test_bad_questions(cluster, run_playbook, question, says):
    done = run_playbook(MODULE, {"kubeconfig": cluster.kubeconfig, "objects": [question]})
    assert done.result["failed"]
    assert says in done.result["msg"]


def test_no_right_is_an_error(cluster, space, run_playbook):
    """Not an empty answer, which would mean that there is nothing."""
    kubeconfig = cluster.user("reader")
    done = run_playbook(MODULE, {"kubeconfig": kubeconfig, "objects": [{"kind": "Secret", "namespace": space}]})
    assert done.result["failed"] and "secrets is forbidden" in done.result["msg"]
    assert done.result["requests"] == 1
