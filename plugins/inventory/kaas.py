# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kaas
short_description: KaaS clusters of the Observer's registry or of Cluster API
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - One host for each KaaS cluster, in the group C(kaas), for the playbooks C(kaas_onboard) and C(kaas_offboard).
  - Its file is named C(*.kaas.yml) or C(*.kaas.yaml).
  - A host carries a reference to the Secret that holds its kubeconfig, and never the kubeconfig. Role C(kaas_agent) reads it for as long as it needs it.
  - Written for the Kubernetes API C(v1) (ConfigMap), and C(cluster.x-k8s.io) C(v1beta1) and C(v1beta2) (Cluster), whichever is served.
  - Needs the right get on the registry's ConfigMap, or list on C(clusters.cluster.x-k8s.io).
extends_documentation_fragment:
  - scs.observer.kubernetes
  - constructed
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [scs.observer.kaas]
  source:
    description:
      - V(registry) means every cluster of the Observer's registry. The options of the connection name the Observer's cluster.
      - V(cluster_api) means every C(Cluster) of a management cluster, to which the options of the connection lead, as soon as its control plane has been
        initialized, and until it has a C(deletionTimestamp).
      - The id of a cluster of V(cluster_api) is C(<namespace>-<name>-<digest>). The digest is the first six hexadecimal digits of the SHA-256 of
        C(<namespace>/<name>). What comes before it is cut so that the whole has at most 63 characters, and in it everything but lower-case letters and
        digits is V(-).
      - A cluster that is deleted and made anew under the same name in the same namespace gets the same id, so that its data goes on.
    type: str
    choices: [registry, cluster_api]
    default: registry
  registry_namespace:
    description: Namespace of the registry, for O(source=registry).
    type: str
    default: observer
  registry_name:
    description: Name of the registry's ConfigMap, for O(source=registry).
    type: str
    default: kaas-clusters
  namespaces:
    description: Namespaces of the management cluster whose clusters are taken, for O(source=cluster_api). Empty means all of them.
    type: list
    elements: str
    default: []
  label_selector:
    description: A Kubernetes label selector for the C(Cluster) objects, for O(source=cluster_api).
    type: str
  labels:
    description:
      - Which labels of the C(Cluster) object become which labels of the registry's entry, for O(source=cluster_api).
      - The label C(name) is the name of the C(Cluster) object, unless something else is said here.
    type: dict
    default: {}
  manager:
    description:
      - Who registers the clusters of O(source=cluster_api), so that C(kaas_onboard) with C(kaas_onboard_prune) unregisters those that this source does not
        have any more, and no others. Sources that do not know of each other need different names.
    type: str
    default: cluster_api
notes:
  - Each host has the variables C(kaas_cluster), which is the registry's entry as M(scs.observer.kaas_clusters) takes it, C(kaas_agent_cluster), which is
    the id, and C(kaas_agent_kubeconfig_secret) with C(namespace), C(name) and C(key), if it is known where its kubeconfig is.
  - For O(source=cluster_api) it also has C(kaas_cluster_api) with C(namespace), C(name), C(labels) and C(phase) of the object, C(kaas_onboard_manager), and,
    if the connection was given by the path of a kubeconfig, C(kaas_agent_management_kubeconfig) and C(kaas_agent_management_context).
  - The group C(kaas) has C(ansible_connection) V(local) and the Python of the controller.
seealso:
  - module: scs.observer.kaas_clusters
  - plugin: kubernetes.core.k8s
    plugin_type: inventory
requirements:
  - kubernetes >= 24.2.0
"""

EXAMPLES = r"""
# Every registered cluster, in groups by their labels. File observer.kaas.yml
plugin: scs.observer.kaas
kubeconfig: /etc/scs-observer/observer.kubeconfig
keyed_groups:
  - prefix: tier
    key: kaas_cluster.labels.tier | default('none')

---
# Every cluster of Cluster API in two namespaces. File management.kaas.yml
plugin: scs.observer.kaas
source: cluster_api
kubeconfig: /etc/scs-observer/management.kubeconfig
namespaces: [customer-a, customer-b]
labels:
  example.com/customer: customer
  topology.kubernetes.io/region: region
groups:
  gold: kaas_cluster_api.labels['example.com/tier'] | default('') == 'gold'
compose:
  kaas_agent_profile: "'full' if kaas_cluster_api.labels['example.com/tier'] | default('') == 'gold' else 'minimal'"
"""

import os
import pathlib
import sys
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.scs.observer.plugins.module_utils import _kaas_inventory, _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._registry import Registry

GROUP = "kaas"


class InventoryModule(BaseInventoryPlugin, Constructable):
    NAME = "scs.observer.kaas"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith((".kaas.yml", ".kaas.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            hosts, variables = self._found(pathlib.Path(path).parent)
        except ObserverError as error:
            raise AnsibleParserError(f"{path}: {error}") from error
        self.inventory.add_group(GROUP)
        self.inventory.set_variable(GROUP, "ansible_connection", "local")
        self.inventory.set_variable(GROUP, "ansible_python_interpreter", sys.executable)
        for host in hosts:
            self._add(host, variables)

    def _found(self, folder: pathlib.Path) -> tuple[list[_kaas_inventory.Host], dict[str, str]]:
        """The hosts, and what all of them have."""
        params = {option: self.get_option(option) for option in _kubernetes.ARGUMENT_SPEC}
        # as other paths in an inventory: beside the file that names it
        if isinstance(params["kubeconfig"], str) and (folder / params["kubeconfig"]).exists():
            params["kubeconfig"] = str((folder / params["kubeconfig"]).resolve())
        labels = _kaas_inventory.check_labels(self.get_option("labels"))
        client = _kubernetes.connect(params)
        if self.get_option("source") == "registry":
            return self._registered(client), {}
        clusters = _kaas_inventory.list_clusters(client, namespaces=self.get_option("namespaces"), labels=self.get_option("label_selector"))
        variables = {"kaas_onboard_manager": self.get_option("manager")}
        kubeconfig = params["kubeconfig"] or os.environ.get("K8S_AUTH_KUBECONFIG")
        if isinstance(kubeconfig, str):
            variables["kaas_agent_management_kubeconfig"] = str(pathlib.Path(kubeconfig).expanduser().absolute())
            variables["kaas_agent_management_context"] = params["context"] or os.environ.get("K8S_AUTH_CONTEXT") or ""
        return _kaas_inventory.from_cluster_api(clusters, labels=labels), variables

    def _registered(self, client: _kubernetes.Client) -> list[_kaas_inventory.Host]:
        namespace, name = self.get_option("registry_namespace"), self.get_option("registry_name")
        snapshot = Registry(client, namespace, name).read()
        if not snapshot.resource_version:
            self.display.warning(f"There is no registry {namespace}/{name} yet, so no KaaS cluster. It is made when the first cluster is registered.")
        hosts, bad = _kaas_inventory.from_registry(snapshot.data)
        if bad:
            self.display.warning(f"Left out, for it is no id of a cluster (RFC 1123 label): {', '.join(bad)}. Unregister it, or leave it to who wrote it.")
        return hosts

    def _add(self, host: _kaas_inventory.Host, variables: t.Mapping[str, str]) -> None:
        self.inventory.add_host(host.name, group=GROUP)
        found: dict[str, t.Any] = {"kaas_cluster": dict(host.entry), "kaas_agent_cluster": host.name, **variables}
        if host.secret:
            found["kaas_agent_kubeconfig_secret"] = dict(host.secret)
        if self.get_option("source") == "cluster_api":
            found["kaas_cluster_api"] = dict(host.source)
        for variable, value in found.items():
            # what customers wrote is no template
            self.inventory.set_variable(host.name, variable, wrap_var(value))
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), found, host.name, strict=strict)
        # with what was composed
        known = self.inventory.get_host(host.name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), known, host.name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, host.name, strict=strict)
