# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode foretells, the first run makes just that, the second changes nothing, and no secret is ever shown."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
COMPONENTS = {
    "StatefulSet": {"prometheus", "thanos-receive", "thanos-store", "thanos-compact", "thanos-ruler", "alertmanager"},
    "Deployment": {"thanos-query", "thanos-query-frontend", "thanos-bucket-web", "blackbox-exporter", "kaas-metric-importer"},
}


def secrets_of(lab: t.Any, cluster: str, namespace: str) -> dict[str, str]:
    """What must never be shown: the last words of each private key, the bucket's key, passwords; by the Secret and key that hold it."""
    found = {"S3's secret key": lab.s3_keys["secret_key"]}
    for secret in lab.get(cluster, "secrets", "-n", namespace):
        for key, value in secret.get("data", {}).items():
            title = f"{cluster}: Secret {secret['metadata']['name']}, {key}"
            text = base64.b64decode(value).decode()
            if "PRIVATE KEY" in text:
                lines = [line for line in text.splitlines() if line and "-----" not in line]
                found |= {f"{title}, line {number}": line for number, line in enumerate(lines) if len(line) > 16}
                found[f"{title}, encoded"] = value[40:100]
            elif "password" in key:
                found[title] = text
    return found


def shown(output: str, secrets: dict[str, str]) -> list[str]:
    # as it is, and as it stands in a JSON string
    return [title for title, value in secrets.items() if value in output or json.dumps(value)[1:-1] in output]


def test_observer_is_predicted_by_check_mode(lab: t.Any, observer: t.Any) -> None:
    observer.need_fresh()
    predicted, made = observer.predicted.objects("created"), observer.first.objects("created")
    assert len(made) > 50, f"expected the whole Observer, got {sorted(made)}"
    assert predicted == made, f"only predicted: {sorted(predicted - made)}; only made: {sorted(made - predicted)}"
    for state in ("updated", "deleted"):
        assert not observer.predicted.objects(state), f"nothing was there, and yet check mode says {state}: {observer.predicted.objects(state)}"
        assert not observer.first.objects(state)
    there = {title.partition(" ")[0] for title in made}
    assert {"Namespace", "Secret", "ConfigMap", "Service", "StatefulSet", "Deployment", "NetworkPolicy", "PodDisruptionBudget"} <= there
    for title in sorted(made):
        kind, _space, name = title.partition(" ")
        namespace, _slash, name = name.rpartition("/")
        assert lab.exists(OBSERVER, kind, name, *(["-n", namespace] if namespace else [])), f"{title} is reported as created and is not there"


def test_check_mode_writes_nothing(observer: t.Any) -> None:
    observer.need_fresh()
    assert observer.writes == [], f"the audit log holds writes of the check run: {observer.writes}"


def test_check_mode_shows_a_diff_of_each_object(observer: t.Any) -> None:
    observer.need_fresh()
    missing = [title for title in observer.predicted.objects("created") if title not in observer.predicted.output]
    assert not missing, f"--check --diff does not show {missing}"


def test_second_run_of_observer_changes_nothing(lab: t.Any, observer: t.Any) -> None:
    observer.need_fresh()
    assert observer.second.changed == 0, f"changed on the second run: {observer.second.changed_tasks}"
    assert observer.second.objects("unchanged") == observer.first.objects("created")
    assert observer.second.seconds < 90, f"the second run took {observer.second.seconds} s"


def test_bucket_was_made(lab: t.Any, observer: t.Any) -> None:
    observer.need_fresh()
    assert [result["created"] for result in observer.predicted.results("s3_bucket")] in ([True], [False])
    assert observer.first.results("s3_bucket")[0]["proved"] == ["put", "get", "list", "delete"]
    assert (lab.state(OBSERVER).parent / "s3" / "data" / lab.bucket).is_dir()


@pytest.mark.parametrize("kind", sorted(COMPONENTS))
def test_every_component_is_ready(lab: t.Any, observer: t.Any, kind: str) -> None:
    found = {item["metadata"]["name"]: item for item in lab.get(OBSERVER, kind, "-n", "observer")}
    assert COMPONENTS[kind] == set(found)
    waiting = {
        name: f"{item['status'].get('readyReplicas', 0)} of {item['spec']['replicas']}"
        for name, item in found.items()
        if item["status"].get("readyReplicas", 0) != item["spec"]["replicas"]
    }
    assert not waiting, f"not Ready: {waiting}"


def test_production_profile(lab: t.Any, observer: t.Any) -> None:
    replicas = {item["metadata"]["name"]: item["spec"]["replicas"] for item in lab.get(OBSERVER, "statefulsets,deployments", "-n", "observer")}
    assert replicas["thanos-receive"] == 3
    assert all(replicas[name] >= 2 for name in ("prometheus", "thanos-query", "thanos-query-frontend", "thanos-store", "thanos-ruler", "alertmanager")), (
        replicas
    )
    budgets = {item["metadata"]["name"] for item in lab.get(OBSERVER, "poddisruptionbudgets", "-n", "observer")}
    assert budgets == {name for name, number in replicas.items() if number > 1}


def test_no_secret_of_the_observer_is_shown(lab: t.Any, observer: t.Any) -> None:
    secrets = secrets_of(lab, OBSERVER, "observer")
    assert any("agents-ca" in title for title in secrets) and any("inside-tls" in title for title in secrets)
    for run in (observer.predicted, observer.first, observer.second):
        assert shown(run.output, secrets) == [], f"shown by {run.command}"


def test_kaas_onboard_is_predicted_by_check_mode(observer: t.Any, kaas: t.Any) -> None:
    kaas.need_fresh()
    for cluster in (ALPHA, BETA):
        predicted, made = kaas.predicted.objects("created", host=cluster), kaas.first.objects("created", host=cluster)
        assert len(made) > 15, f"expected a whole agent in {cluster}, got {sorted(made)}"
        assert predicted == made, f"{cluster}: only predicted: {sorted(predicted - made)}; only made: {sorted(made - predicted)}"
    registered = [result for result in kaas.predicted.results("kaas_clusters") if result.get("registered")]
    assert registered, "check mode does not say that the clusters would be registered"


def test_check_mode_of_kaas_onboard_writes_nothing(kaas: t.Any) -> None:
    kaas.need_fresh()
    assert kaas.writes == [], f"the audit logs hold writes of the check run: {kaas.writes}"


def test_second_run_of_kaas_onboard_changes_nothing(kaas: t.Any) -> None:
    kaas.need_fresh()
    assert kaas.second.changed == 0, f"changed on the second run: {kaas.second.changed_tasks}"
    for cluster in (ALPHA, BETA):
        assert kaas.second.objects("unchanged", host=cluster) == kaas.first.objects("created", host=cluster)


def test_no_secret_of_the_agents_is_shown(lab: t.Any, kaas: t.Any) -> None:
    secrets = secrets_of(lab, OBSERVER, "observer")
    for cluster in (ALPHA, BETA):
        secrets |= secrets_of(lab, cluster, "observer-agent")
    assert any("observer-agent-certificate" in title for title in secrets)
    for run in (kaas.predicted, kaas.first, kaas.second):
        assert shown(run.output, secrets) == [], f"shown by {run.command}"
