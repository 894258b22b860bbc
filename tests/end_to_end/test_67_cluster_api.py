# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of Cluster API comes and goes without a person: the watching loop onboards it when it is ready, and unregisters it when it is being deleted.

The Observer's own cluster is the management cluster too. Cluster API's CRD is the real one, its controllers are not run: the test writes the status and the
Secret that they would write, of a real cluster of the lab.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import time
import typing as t

import _cluster_api
import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils._kaas_inventory import cluster_id

OBSERVER, CLUSTER = "test-observer", "test-capi"
TOP = pathlib.Path(__file__).parents[2]
NAMESPACE = "customers"
ID = cluster_id(NAMESPACE, CLUSTER)
INDEX = 60
# as in inventory/group_vars/observer.yml
FOR = 15
LOOKBACK = 30


@pytest.fixture(scope="module", name="made")
def fixture_made(lab: t.Any, kaas: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Callable[[], None]]:
    """A further cluster of the lab, of which the Observer knows nothing; gives back what removes it."""
    folder = tmp_path_factory.mktemp("capi")
    (folder / "hosts.yml").write_text(yaml.safe_dump({"kaas": {"hosts": {CLUSTER: {"end_to_end_index": INDEX}}}}))
    flags = ["-i", str(folder / "hosts.yml"), "--limit", CLUSTER]
    lab.playbook("lab", *flags)

    def remove() -> None:
        if lab.state(CLUSTER).exists():
            lab.playbook("lab", *flags, variables={"lab_state": "absent"})

    yield remove
    remove()


@pytest.fixture(scope="module", name="management", autouse=True)
def fixture_management(lab: t.Any, kaas: t.Any) -> t.Iterator[None]:
    lab.kubectl(OBSERVER, "apply", "--server-side", "-f", "-", stdin=json.dumps(_cluster_api.crd("v1beta2")))
    lab.kubectl(OBSERVER, "wait", "crd", "clusters.cluster.x-k8s.io", "--for=condition=Established", "--timeout=60s")
    lab.kubectl(OBSERVER, "create", "namespace", NAMESPACE, check=False)
    yield
    if lab.exists(OBSERVER, "clusters.cluster.x-k8s.io", CLUSTER, "-n", NAMESPACE):
        lab.kubectl(OBSERVER, "patch", "clusters.cluster.x-k8s.io", CLUSTER, "-n", NAMESPACE, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    lab.kubectl(OBSERVER, "delete", "namespace", NAMESPACE)
    lab.kubectl(OBSERVER, "delete", "crd", "clusters.cluster.x-k8s.io")


class Watcher:
    def __init__(self, lab: t.Any, folder: pathlib.Path) -> None:
        self.folder = folder
        inventory = folder / "inventory"
        (inventory / "group_vars").mkdir(parents=True)
        source = {"plugin": "scs.observer.kaas", "source": "cluster_api", "kubeconfig": lab.kubeconfig(OBSERVER), "namespaces": [NAMESPACE]}
        (inventory / "test.kaas.yml").write_text(yaml.safe_dump(source))
        variables = {"observer_kubeconfig": lab.kubeconfig(OBSERVER), "observer_receive_public_url": lab.receive_url}
        variables |= {"kaas_agent_kind": "host", "kaas_agent_scrape_interval": "5s", "kaas_agent_wait_timeout": 120}
        (inventory / "group_vars" / "kaas.yml").write_text(yaml.safe_dump(variables))
        port = 9860 + int(os.environ.get("END_TO_END_SLOT") or 0)
        settings = {"inventory": str(inventory), "folder": str(folder / "state"), "namespaces": [NAMESPACE], "port": port}
        settings |= {"management_kubeconfig": lab.kubeconfig(OBSERVER), "observer_kubeconfig": lab.kubeconfig(OBSERVER)}
        (folder / "settings.yml").write_text(yaml.safe_dump(settings))

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @contextlib.contextmanager
    def running(self) -> t.Iterator[None]:
        program = TOP / "roles" / "kaas_watcher" / "files" / "kaas_watcher.py"
        paths = f"{TOP / '.cache' / 'tree'}{os.pathsep}{sysconfig.get_path('purelib')}"
        environment = os.environ | {"PYTHONPATH": paths, "ANSIBLE_COLLECTIONS_PATH": paths, "ANSIBLE_CONFIG": str(TOP / "ansible.cfg")}
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, str(program), str(self.folder / "settings.yml")]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(20)


def registry(lab: t.Any) -> dict[str, str]:
    return lab.get(OBSERVER, "configmap", "kaas-clusters", "-n", "observer").get("data") or {}


def create(lab: t.Any) -> None:
    """As Cluster API does: the Secret first, then the status."""
    kubeconfig = pathlib.Path(lab.kubeconfig(CLUSTER)).read_bytes()
    host, _colon, port = yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
    body = _cluster_api.cluster(NAMESPACE, CLUSTER, host=host, port=int(port), finalizers=["cluster.cluster.x-k8s.io/test"])
    lab.kubectl(OBSERVER, "apply", "-f", "-", stdin=json.dumps(body))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": NAMESPACE, "name": f"{CLUSTER}-kubeconfig"}}
    lab.kubectl(OBSERVER, "apply", "-f", "-", stdin=json.dumps({**secret, "data": {"value": base64.b64encode(kubeconfig).decode()}}))
    status = json.dumps({"status": _cluster_api.ready()})
    lab.kubectl(OBSERVER, "patch", "clusters.cluster.x-k8s.io", CLUSTER, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", status)


def test_cluster_comes_and_goes_without_a_person(lab: t.Any, made: t.Callable[[], None], tmp_path: pathlib.Path) -> None:
    watcher = Watcher(lab, tmp_path)
    url = lab.service("thanos-query", 9090)
    before = registry(lab)
    began = time.time()
    with watcher.running():
        lab.wait_until(lambda: (tmp_path / "log").exists() and "watches" in watcher.log, 60, "the watcher")
        time.sleep(3)
        assert ID not in registry(lab), "nothing is ready yet"

        create(lab)
        ready = time.monotonic()
        lab.wait_until(lambda: lab.query(f'up{{cluster="{ID}"}}', url=url), 300, f"the first sample of {ID}; {watcher.log}", delay=0.5)
        first_sample = time.monotonic() - ready
        lab.figures["Cluster API: Cluster ready -> first sample in Query, seconds"] = round(first_sample, 1)
        lab.wait_until(lambda: ID in registry(lab), 120, "the registration", delay=0.5)
        lab.figures["Cluster API: Cluster ready -> registered, seconds"] = round(time.monotonic() - ready, 1)
        entry = json.loads(registry(lab)[ID])
        assert entry["manager"] == "cluster_api" and entry["labels"] == {"name": CLUSTER}
        assert entry["kubeconfig_secret"] == {"namespace": NAMESPACE, "name": f"{CLUSTER}-kubeconfig", "key": "value"}
        assert entry["api_url"].startswith("https://10.200.0.") and entry["agent_certificate_not_after"]
        lab.wait_until(lambda: lab.query(f'kaas{{cluster="{ID}"}}', url=url), 60, "the Observer to expect it")

        lab.kubectl(OBSERVER, "delete", "clusters.cluster.x-k8s.io", CLUSTER, "-n", NAMESPACE, "--wait=false")
        deleted = time.monotonic()
        lab.wait_until(lambda: ID not in registry(lab), 30, "the unregistration", delay=0.2)
        lab.figures["Cluster API: deletionTimestamp -> unregistered, seconds"] = round(time.monotonic() - deleted, 1)
        assert before.items() <= registry(lab).items()
        lab.wait_until(lambda: not lab.query(f'kaas{{cluster="{ID}"}}', url=url), 60, "the Observer to expect it no more")
        # it lingers for as long as its machines do, which then go
        made()
        lab.kubectl(OBSERVER, "patch", "clusters.cluster.x-k8s.io", CLUSTER, "-n", NAMESPACE, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        time.sleep(3 * FOR + LOOKBACK)
        assert before.items() <= registry(lab).items() and ID not in registry(lab)
    window = f"{int(time.time() - began)}s"
    fired = lab.query(f'count_over_time(ALERTS{{alertname=~"KaaS.+",alertstate="firing",cluster="{ID}"}}[{window}])', url=url)
    assert not fired, f"alerts of a cluster that was deleted on purpose: {fired}"
    assert lab.query('ALERTS{alertname="Watchdog",alertstate="firing"}', url=url), "the rules were evaluated"
    secret = pathlib.Path(lab.kubeconfig(OBSERVER)).read_text().split("client-key-data: ")[-1][:40]
    assert "PRIVATE KEY" not in watcher.log and secret not in watcher.log
