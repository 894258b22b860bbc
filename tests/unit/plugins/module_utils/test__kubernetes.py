# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import ssl

import pytest
import urllib3
import yaml
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.scs.observer.plugins.doc_fragments.kubernetes import ModuleDocFragment
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes as k
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

ROOT = pathlib.Path(__file__).parents[4]


class Pool:
    """Stands in for urllib3's pool: answers in turn, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def request(self, method, url, **options):
        self.asked.append((method, url, options))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, content, *headers = answer
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return urllib3.HTTPResponse(data, headers=urllib3.HTTPHeaderDict(headers[0] if headers else {}), status=status, preload_content=True)


def client(*answers):
    pool = Pool(*answers)
    return k.Client("https://api:6443", pool, lambda: [("Impersonate-Group", "a"), ("Impersonate-Group", "b")]), pool


def test_request_sends_json_and_counts():
    tested, pool = client((200, {"kind": "ConfigMap"}), (200, b"text"), (200, b""))
    assert tested.request("PATCH", "/api/v1/x", body={"a": 1}, query={"dryRun": "All"}, content_type=k.MERGE_PATCH) == {"kind": "ConfigMap"}
    assert tested.request("GET", "/metrics", text=True) == "text"
    assert tested.request("DELETE", "/api/v1/x") is None
    assert tested.requests == 3
    method, url, options = pool.asked[0]
    assert (method, url) == ("PATCH", "https://api:6443/api/v1/x?dryRun=All")
    assert json.loads(options["body"]) == {"a": 1}
    assert options["headers"]["Content-Type"] == k.MERGE_PATCH
    assert options["headers"].getlist("Impersonate-Group") == ["a", "b"]


def test_warnings_of_the_server():
    assert client((200, {}, {"Warning": '299 - "would violate \\"restricted\\""'}))[0].send("GET", "/x").warnings == ('would violate "restricted"',)


def status(code, message, **more):
    return code, {"kind": "Status", "message": message, "code": code, **more}


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (status(401, "Unauthorized"), 401, r"API server https://api:6443 does not accept the credentials \(401\).*kubeconfig"),
        (status(403, 'User "bob" cannot get resource "x"'), 403, r"GET /x failed on https://api:6443 \(403\): User .*grant it by a Role"),
        (status(403, 'User "system:anonymous" cannot get path "/x"'), 403, r"carried no credentials"),
        (status(404, 'configmaps "x" not found', reason="NotFound", details={"kind": "configmaps"}), 404, r'\(404\): configmaps "x" not found\.$'),
        ((502, b"<html>bad gateway</html>"), 502, r"\(502\): <html>bad gateway</html>"),
        ((200, b"<html>login</html>"), 200, r"is not JSON: is it a Kubernetes API server\?"),
        (
            urllib3.exceptions.SSLError(ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")),
            0,
            r"TLS certificate .* cannot be verified.*ca_cert",
        ),
        (urllib3.exceptions.SSLError(ssl.SSLError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")), 0, r"TLS connection .* failed.*client certificate"),
        (
            urllib3.exceptions.MaxRetryError(None, "/x", urllib3.exceptions.NewConnectionError(None, "Failed: [Errno 111] Connection refused")),
            0,
            r"^Kubernetes API server https://api:6443 cannot be reached: .*Connection refused\. Check that it runs",
        ),
    ],
)
def test_errors_name_server_and_remedy(answer, code, message):
    with pytest.raises(k.ApiError, match=message) as caught:
        client(answer)[0].request("GET", "/x")
    assert caught.value.status == code


def test_details_of_an_error_can_be_read():
    answer = status(409, "conflict", reason="Conflict", details={"kind": "x", "causes": [{"field": ".a"}]})
    with pytest.raises(k.ApiError) as caught:
        client(answer)[0].request("PATCH", "/x")
    error = caught.value
    assert (error.status, error.reason, error.detail, error.causes, error.kind) == (409, "Conflict", "conflict", [{"field": ".a"}], "x")


def test_list_follows_pages_and_fills_in_kinds():
    tested, pool = client(
        (200, {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    )
    found = tested.list("/api/v1/configmaps", labels="a=b")
    assert [(entry["apiVersion"], entry["kind"], entry["metadata"]["name"]) for entry in found] == [("v1", "ConfigMap", "a"), ("v1", "ConfigMap", "b")]
    assert "labelSelector=a%3Db" in pool.asked[0][1]
    assert "continue=next" in pool.asked[1][1]


def test_built_in_kinds_are_known_without_a_request():
    tested, pool = client()
    assert tested.resolve("apps/v1", "Deployment").path("n", "x") == "/apis/apps/v1/namespaces/n/deployments/x"
    assert tested.resolve("v1", "Namespace").path(None, "x") == "/api/v1/namespaces/x"
    assert tested.resolve("networking.k8s.io/v1", "NetworkPolicy").path("n") == "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies"
    assert tested.resolve("v1", "ConfigMap").path() == "/api/v1/configmaps"
    assert pool.asked == []


def test_other_kinds_take_one_request_for_their_group():
    resources = [
        {"kind": "Widget", "name": "widgets", "namespaced": True},
        {"kind": "Widget", "name": "widgets/status", "namespaced": True},
    ]
    tested, pool = client((200, {"resources": resources}), status(404, "not found"))
    assert tested.resolve("example.org/v1", "Widget").path("n", "w") == "/apis/example.org/v1/namespaces/n/widgets/w"
    assert tested.resolve("example.org/v1", "Gadget") is None
    assert tested.resolve("example.net/v1", "Widget") is None
    assert len(pool.asked) == 2


def kubeconfig(tmp_path, **user):
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    return str(tmp_path / "kubeconfig")


def test_connect_reads_a_kubeconfig_and_sends_nothing(tmp_path):
    tested = k.connect({"kubeconfig": kubeconfig(tmp_path, token="t0ken")})
    assert tested.server == "https://api:6443"
    assert ("authorization", "Bearer t0ken") in list(tested._headers())
    assert tested.requests == 0


def test_connect_takes_a_kubeconfig_as_mapping_and_impersonation(tmp_path):
    content = yaml.safe_load(pathlib.Path(kubeconfig(tmp_path, token="x")).read_text())
    headers = list(k.connect({"kubeconfig": content, "impersonate_user": "u", "impersonate_groups": ["g", "h"]})._headers())
    assert [entry for entry in headers if entry[0].startswith("Impersonate")] == [
        ("Impersonate-User", "u"),
        ("Impersonate-Group", "g"),
        ("Impersonate-Group", "h"),
    ]


def test_connect_runs_an_exec_plugin(tmp_path):
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-plugin"}}
    (tmp_path / "plugin").write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    (tmp_path / "plugin").chmod(0o755)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(tmp_path / "plugin"), "interactiveMode": "Never"}
    assert ("authorization", "Bearer from-plugin") in list(k.connect({"kubeconfig": kubeconfig(tmp_path, exec=plugin)})._headers())


def test_connect_uses_the_environment_and_a_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", kubeconfig(tmp_path, token="x"))
    monkeypatch.setenv("K8S_AUTH_PROXY", "http://proxy:3128")
    tested = k.connect({})
    assert tested.server == "https://api:6443"
    assert isinstance(tested._pool, urllib3.ProxyManager)


def test_two_connections_do_not_mix(tmp_path):
    k.connect({"kubeconfig": kubeconfig(tmp_path, token="first")})
    second = k.connect({"host": "https://other:6443", "api_key": "second"})
    assert second.server == "https://other:6443"
    assert [value for name, value in second._headers() if name == "authorization"] == ["Bearer second"]


def test_connect_says_which_kubeconfig_and_context_are_wrong(tmp_path):
    with pytest.raises(ObserverError, match=r"cannot be set up from kubeconfig /nowhere: .*'kubeconfig' and 'context'"):
        k.connect({"kubeconfig": "/nowhere"})
    with pytest.raises(ObserverError, match=r"context missing: .*missing"):
        k.connect({"kubeconfig": kubeconfig(tmp_path, token="x"), "context": "missing"})
    (tmp_path / "broken").write_text("a: [")
    with pytest.raises(ObserverError, match=r"cannot be set up from kubeconfig .*broken"):
        k.connect({"kubeconfig": str(tmp_path / "broken")})


def documented(options):
    return {
        name: {
            "type": entry["type"],
            "aliases": entry.get("aliases", []),
            "elements": entry.get("elements"),
            "options": documented(entry.get("suboptions", {})),
        }
        for name, entry in options.items()
    }


def specified(spec):
    return {
        name: {
            "type": entry.get("type", "str"),
            "aliases": entry.get("aliases", []),
            "elements": entry.get("elements"),
            "options": specified(entry.get("options", {})),
        }
        for name, entry in spec.items()
    }


def test_fragment_agrees_with_kubernetes_core():
    assert k.ARGUMENT_SPEC is AUTH_ARG_SPEC
    assert documented(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]) == specified(AUTH_ARG_SPEC)


def test_every_module_of_the_action_group_has_an_action_plugin():
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    modules = {entry for entry in runtime["action_groups"]["kubernetes"] if isinstance(entry, str)}
    routed = set(runtime.get("plugin_routing", {}).get("action", {}))
    assert modules <= routed | {path.stem for path in (ROOT / "plugins" / "action").glob("*.py")}
