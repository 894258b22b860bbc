#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kaas_clusters
short_description: Register and unregister KaaS clusters, many at once
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Keeps the registry, the ConfigMap of those clusters that ought to report to the Observer. A registered cluster that does not report is a failure; one
    that was unregistered has ended as intended. So unregister a cluster first, then delete it.
  - All clusters are handled by one read and at most one write of the ConfigMap, whatever their number. The write is a merge patch of the changed entries
    only, and is planned anew when another program wrote in between, so that entries of others are never overwritten.
  - Works on the registry of the SCS monitoring MVP too, whose entries are bare keys with an empty value. They stay valid, and stay as they are unless
    something is asked of them.
  - With O(prune) the list is complete, and what the same O(manager) registered earlier and the list names no more is unregistered.
  - Unregistering never needs the cluster itself, and no cluster is ever touched; only the registry is.
  - Written for the Kubernetes API C(v1) (ConfigMap). Needs the rights get, patch and create on it, and for O(wait) get on C(services/proxy).
extends_documentation_fragment:
  - scs.observer.kubernetes
attributes:
  check_mode:
    support: full
    description: Reads the registry and predicts everything, without writing.
  diff_mode:
    support: full
    description: One difference for each cluster that is registered, changed or unregistered.
  idempotent:
    support: full
    description: When nothing has to change, nothing is written.
options:
  namespace:
    description: Namespace of the registry in the Observer's cluster. It must exist.
    type: str
    default: observer
  name:
    description: Name of the registry's ConfigMap. It is made when it does not exist.
    type: str
    default: kaas-clusters
  clusters:
    description:
      - The clusters. No name may occur twice. What is registered and not named here stays registered, unless O(prune) is set.
      - Exactly one of O(clusters) and O(backup) is required.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Id of the cluster, the value of the label C(cluster) of all its series and the common name of its agent's certificate.
          - An RFC 1123 label, at most 63 characters. Must never be used for another cluster while data of this one is kept.
          - With O(clusters[].state=absent) any key of the registry can be named.
        type: str
        required: true
      role:
        description:
          - V(kaas) is a customer's cluster, V(infrastructure) one of the provider itself.
          - When not given, an entry keeps its role, and a new one gets V(kaas).
        type: str
        choices: [kaas, infrastructure]
      labels:
        description:
          - What the metric C(kaas_info) says about the cluster, for example C(customer), C(region), C(tier). The label C(name) is its display name.
          - Names are Prometheus label names of at most 128 characters, values are strings of at most 256 characters.
          - Refused are the names that the Observer sets itself, which are C(cluster), C(infrastructure), C(instance), C(job), C(le), C(observer),
            C(prometheus_replica), C(quantile), C(receive), C(receive_replica), C(replica), C(role), C(ruler_replica), C(tenant) and C(tenant_id).
          - When given they replace all labels of the entry. When not given an entry keeps its labels.
        type: dict
      description:
        description: Text for people, at most 1024 characters. When not given an entry keeps its description.
        type: str
      api_url:
        description:
          - URL of the cluster's API server as the Observer reaches it, such as V(https://192.0.2.10:6443), without user, path and query. The Observer
            asks it whether the cluster lives when its agent is silent.
          - When not given an entry keeps its URL. V("") removes it.
        type: str
      maintenance:
        description: With V(true) a silent cluster raises no alert. When not given an entry stays as it is. V(false) ends it.
        type: bool
      agent_certificate_not_after:
        description:
          - When the agent's certificate ends, a time of RFC 3339, as M(scs.observer.certificates) returns C(not_after). It is stored in UTC.
          - When not given an entry keeps it. V("") removes it.
        type: str
      kubeconfig_secret:
        description:
          - The Secret that holds the cluster's kubeconfig, in the Observer's or in the management cluster. A reference only; the Secret is never read here.
          - When not given an entry keeps its reference. V({}) removes it.
        type: dict
        suboptions:
          namespace:
            description: Namespace of the Secret.
            type: str
          name:
            description: Name of the Secret.
            type: str
          key:
            description: The Secret's key that holds the kubeconfig. Cluster API uses V(value).
            type: str
            default: value
      state:
        description: Whether this cluster is registered. By default as O(state) says.
        type: str
        choices: [present, absent]
  state:
    description: Whether the clusters are registered that don't say so themselves.
    type: str
    choices: [present, absent]
    default: present
  manager:
    description:
      - Who keeps these clusters registered. It is written into the entries that this module makes, and never changed afterwards.
      - Letters, digits, V(-), V(_) and V(.), at most 63 characters. Programs of this collection use V(kaas_mock) and V(cluster_api).
    type: str
    default: ansible
  prune:
    description:
      - Unregister the clusters that O(manager) registered and O(clusters) does not name. Entries of other managers and bare keys, of which nobody knows who
        wrote them, are never pruned.
      - Fails when O(clusters) names no cluster that stays, since an empty list is more often a mistake than the truth. See O(prune_allow_empty).
      - Not with O(state=absent) and not with O(backup).
    type: bool
    default: false
  ignore:
    description: Globs (C(*), C(?), C([abc])) of names that are never pruned.
    type: list
    elements: str
    default: []
  prune_limit:
    description:
      - How many clusters may be pruned at most, as a number such as V(10) or as a share such as V(10%) of those that O(manager) has registered. Were it more,
        the module fails before anything is written. Clusters that are named with O(clusters[].state=absent) are not counted.
      - By default there is no limit.
    type: str
  prune_allow_empty:
    description: Let O(prune) unregister all that O(manager) registered.
    type: bool
    default: false
  backup:
    description:
      - Text of a file that the playbook C(scs.observer.kaas_registry_backup) wrote. Entries that are not in the registry are put back exactly as they
        were, their manager included; those that are there stay as they are. None is removed.
      - It is what the playbook C(scs.observer.kaas_registry_restore) uses.
    type: str
  backup_overwrite:
    description: Put the entries of O(backup) also in place of those that are there.
    type: bool
    default: false
  wait:
    description:
      - Wait until the Observer expects what is registered and no longer expects what is unregistered, that is until the metric C(kaas) is there, or gone, in
        Thanos Query. It is waited for also when nothing had to be changed, as after a run that was interrupted.
      - Thanos Query is asked through the service proxy of the API server. What is missing in an answer that Thanos calls partial is not taken for gone.
      - Not in check mode.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait at most, in seconds.
    type: int
    default: 120
  wait_service:
    description: Name of the Service of Thanos Query, in O(namespace).
    type: str
    default: thanos-query
  wait_port:
    description: Number or name of its port.
    type: str
    default: "9090"
requirements:
  - kubernetes >= 24.2.0
seealso:
  - module: scs.observer.promql_info
"""

EXAMPLES = r"""
- name: Register two clusters
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters:
      - name: customer-a-prod
        labels: {name: Production of A, customer: a, region: west, tier: gold}
        description: Written up in the contract of 2026-03
        api_url: https://192.0.2.10:6443
      - name: harbor
        role: infrastructure

- name: Register every host of the group kaas, whose host_vars hold kaas_cluster
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters: "{{ groups['kaas'] | map('extract', hostvars, 'kaas_cluster') }}"
  run_once: true

- name: A cluster is about to be deleted, so wait until nobody misses it
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters:
      - name: customer-a-prod
    state: absent
    wait: true

- name: No alerts of this cluster tonight
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters:
      - name: customer-a-prod
        maintenance: true

- name: Make the registry what the customer database says, but don't believe it when a tenth of all clusters is missing
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters: "{{ clusters_of_the_database }}"
    manager: database
    prune: true
    prune_limit: 10%
    ignore: [test-*]
"""

RETURN = r"""
registered:
  description: Names of the clusters that were not registered and now are.
  type: list
  elements: str
  returned: success
  sample: [customer-a-prod]
updated:
  description: Names of the clusters whose entry changed.
  type: list
  elements: str
  returned: success
unregistered:
  description: Names of the clusters that were registered and are no more, pruned ones included.
  type: list
  elements: str
  returned: success
unchanged:
  description: Names of the clusters of the list that were already as asked.
  type: list
  elements: str
  returned: success
  sample: [harbor]
requests:
  description:
    - Number of requests to the API server. 1 when nothing changed, else 2, and 2 more each time another program wrote in between.
    - The queries of O(wait) are not counted.
  type: int
  returned: success
  sample: 2
waited:
  description: How long it took until the Observer expected what it ought to, in seconds.
  type: float
  returned: when O(wait) is set, not in check mode
  sample: 6.3
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes, _promql_backends, _registry
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

STATES = ["present", "absent"]
QUERY_TIMEOUT = 10
ARGUMENT_SPEC = {
    "namespace": {"type": "str", "default": _registry.NAMESPACE},
    "name": {"type": "str", "default": _registry.NAME},
    "clusters": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "role": {"type": "str", "choices": list(_registry.ROLES)},
            "labels": {"type": "dict"},
            "description": {"type": "str"},
            "api_url": {"type": "str"},
            "maintenance": {"type": "bool"},
            "agent_certificate_not_after": {"type": "str"},
            "kubeconfig_secret": {
                "type": "dict",
                # a name, no secret
                "no_log": False,
                "options": {"namespace": {"type": "str"}, "name": {"type": "str"}, "key": {"type": "str", "default": "value", "no_log": False}},
            },
            "state": {"type": "str", "choices": STATES},
        },
    },
    "state": {"type": "str", "choices": STATES, "default": "present"},
    "manager": {"type": "str", "default": _registry.MANAGER},
    "prune": {"type": "bool", "default": False},
    "ignore": {"type": "list", "elements": "str", "default": []},
    "prune_limit": {"type": "str"},
    "prune_allow_empty": {"type": "bool", "default": False},
    "backup": {"type": "str"},
    "backup_overwrite": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 120},
    "wait_service": {"type": "str", "default": "thanos-query"},
    "wait_port": {"type": "str", "default": "9090"},
}


def asked_by(params: dict[str, t.Any]) -> tuple[list[_registry.Item], _registry.Prune | None]:
    if params["wait_timeout"] < 1:
        raise ObserverError(f"wait_timeout is {params['wait_timeout']}. It must be 1 or more.")
    if params["prune"] and (params["state"] == "absent" or params["backup"] is not None):
        raise ObserverError("prune keeps what clusters names, so it can not be set together with state=absent or backup. Leave one out.")
    if params["backup"] is not None:
        return _registry.items_from_backup(params["backup"], overwrite=params["backup_overwrite"]), None
    items = _registry.items_from(params["clusters"], present=params["state"] == "present")
    options = {"ignore": params["ignore"], "limit": params["prune_limit"], "allow_empty": params["prune_allow_empty"]}
    return items, _registry.prune_from(items, **options) if params["prune"] else None


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_kubernetes.ARGUMENT_SPEC, **ARGUMENT_SPEC},
        supports_check_mode=True,
        mutually_exclusive=[("clusters", "backup")],
        required_one_of=[("clusters", "backup")],
    )
    params = module.params
    result: dict[str, t.Any] = {}
    try:
        items, prune = asked_by(params)
        manager = _registry.check_manager(params["manager"])
        client = _kubernetes.from_module(module)
        registry = _registry.Registry(client, params["namespace"], params["name"])
        outcome = registry.ensure(items, manager=manager, prune=prune, check=module.check_mode)
        result = {"requests": client.requests, **outcome.result()}
        if module._diff:
            result["diff"] = outcome.plan.diff(_registry.render)
        if params["wait"] and not module.check_mode:
            timeout = min(QUERY_TIMEOUT, params["wait_timeout"])
            backend = _promql_backends.ServiceBackend(client, params["namespace"], params["wait_service"], params["wait_port"], timeout=timeout)
            gone = {item.name for item in items if not item.present} | {*outcome.plan.names("delete")}
            waited = _registry.wait_shown(backend, [item.name for item in items if item.present], gone, timeout=params["wait_timeout"])
            result["waited"] = round(waited, 1)
    except ObserverError as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
