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
  - Unregistering never needs the cluster itself.
  - Written for the Kubernetes API C(v1) (ConfigMap). Needs the rights get, patch and create on it.
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
    description: The clusters. No name may occur twice. What is registered and not named here stays registered.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Id of the cluster, the value of the label C(cluster) of all its series and the common name of its agent's certificate.
          - An RFC 1123 label, at most 63 characters. Must never be used for another cluster while data of this one is kept.
          - With O(state=absent) any key of the registry can be named.
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
          - Names are Prometheus label names, values are strings of at most 256 characters.
          - Refused are the names that the Observer sets itself, which are C(cluster), C(infrastructure), C(instance), C(job), C(le), C(observer),
            C(prometheus_replica), C(quantile), C(receive), C(receive_replica), C(replica), C(role), C(ruler_replica), C(tenant) and C(tenant_id).
          - When given they replace all labels of the entry. When not given an entry keeps its labels.
        type: dict
      description:
        description: Text for people, at most 1024 characters. When not given an entry keeps its description.
        type: str
  state:
    description: Whether the clusters are registered.
    type: str
    choices: [present, absent]
    default: present
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
      - name: harbor
        role: infrastructure

- name: Register every host of the group kaas, whose host_vars hold kaas_cluster
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters: "{{ groups['kaas'] | map('extract', hostvars, 'kaas_cluster') }}"
  run_once: true

- name: A cluster is about to be deleted
  scs.observer.kaas_clusters:
    kubeconfig: /etc/observer/kubeconfig
    clusters:
      - name: customer-a-prod
    state: absent
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
  description: Names of the clusters that were registered and are no more.
  type: list
  elements: str
  returned: success
unchanged:
  description: Names of the clusters that were already as asked.
  type: list
  elements: str
  returned: success
  sample: [harbor]
requests:
  description: Number of requests to the API server. 1 when nothing changed, else 2, and 2 more each time another program wrote in between.
  type: int
  returned: success
  sample: 2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes, _registry
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

ARGUMENT_SPEC = {
    "namespace": {"type": "str", "default": _registry.NAMESPACE},
    "name": {"type": "str", "default": _registry.NAME},
    "clusters": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "role": {"type": "str", "choices": list(_registry.ROLES)},
            "labels": {"type": "dict"},
            "description": {"type": "str"},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**_kubernetes.ARGUMENT_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    try:
        items = _registry.items_from(module.params["clusters"], present=module.params["state"] == "present")
        client = _kubernetes.from_module(module)
        outcome = _registry.Registry(client, module.params["namespace"], module.params["name"]).ensure(items, check=module.check_mode)
    except ObserverError as error:
        module.fail_json(msg=str(error))
    result = outcome.result()
    if module._diff:
        result["diff"] = outcome.plan.diff(_registry.render)
    module.exit_json(requests=client.requests, **result)


if __name__ == "__main__":
    main()
