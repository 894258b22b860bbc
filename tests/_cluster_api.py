# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cluster API's own CustomResourceDefinition, out of its Go module, and objects of it. Its controllers are not run: tests write what they would write."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import typing as t

import yaml
from _programs import CACHE

FOLDER = pathlib.Path(__file__).parent / "integration" / "cluster_api"
# the release that is pinned there, and where it keeps the CRD
CRDS = {"v1beta1": "config/crd/bases", "v1beta2": "core/config/crd/bases"}


@functools.cache
def crd(version: str) -> dict[str, t.Any]:
    """Of a release that stores this version. Others than the stored one need Cluster API's webhook to convert, which does not run here."""
    settings = {"GOMODCACHE": str(CACHE / "go" / "mod"), "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    command = ["go", "mod", "download", "-json", "sigs.k8s.io/cluster-api"]
    done = subprocess.run(command, cwd=FOLDER / version, env=os.environ | settings, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    path = pathlib.Path(json.loads(done.stdout)["Dir"]) / CRDS[version] / "cluster.x-k8s.io_clusters.yaml"
    found = yaml.safe_load(path.read_text())
    found["spec"].pop("conversion", None)
    found["spec"]["versions"] = [one for one in found["spec"]["versions"] if one["storage"]]
    assert [one["name"] for one in found["spec"]["versions"]] == [version]
    return found


def cluster(namespace: str, name: str, version: str = "v1beta2", *, host: str = "192.0.2.10", port: int = 6443, **metadata: t.Any) -> dict[str, t.Any]:
    reference = {"kind": "DockerCluster", "name": name}
    reference |= {"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1"} if version == "v1beta1" else {"apiGroup": "infrastructure.cluster.x-k8s.io"}
    return {
        "apiVersion": f"cluster.x-k8s.io/{version}",
        "kind": "Cluster",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "spec": {"infrastructureRef": reference, "controlPlaneEndpoint": {"host": host, "port": port}},
    }


def ready(version: str = "v1beta2") -> dict[str, t.Any]:
    """The status that Cluster API's controllers give it as soon as its API server has answered."""
    condition = {"type": "ControlPlaneInitialized", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    if version == "v1beta1":
        return {"phase": "Provisioned", "infrastructureReady": True, "conditions": [condition]}
    return {
        "phase": "Provisioned",
        "initialization": {"infrastructureProvisioned": True, "controlPlaneInitialized": True},
        "conditions": [{**condition, "reason": "Initialized", "message": ""}],
    }
