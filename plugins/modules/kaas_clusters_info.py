#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kaas_clusters_info
short_description: The state of each KaaS cluster
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Tells for each cluster that is registered, or reports to the Observer, in which state it is, when its last sample came, and what the registry says of it.
  - The state is the one that Thanos Ruler records in the metric C(cluster:kaas_state:info). Dashboards and alerts read the same, so they never differ.
    It is as old as the last evaluation, at most C(observer_rule_interval), 30 seconds by default.
  - One request for the registry and one query, both through the API server of the Observer's cluster, whatever the number of clusters.
  - When a wrong state would come of it, the module fails. So it does when clusters are registered and no ruler recorded anything of late, when the answer of
    Thanos is partial and lacks a registered cluster, and when one cluster has two states.
  - Written for the Kubernetes API C(v1) (ConfigMap, service proxy) and the Prometheus HTTP API C(v1). Needs the rights get on the ConfigMap and on
    C(services/proxy).
extends_documentation_fragment:
  - scs.observer.kubernetes
attributes:
  check_mode:
    support: full
    description: The module only reads, so it does the same in check mode.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
options:
  namespace:
    description: Namespace of the registry, and of O(service) unless that names another.
    type: str
    default: observer
  name:
    description: Name of the registry's ConfigMap.
    type: str
    default: kaas-clusters
  clusters:
    description:
      - Names of the clusters to return. By default all that are registered or report.
      - One that is neither is not among RV(clusters).
    type: list
    elements: str
  states:
    description: Return only clusters that are in one of these states. By default in any.
    type: list
    elements: str
    choices: [up, new, never_seen, agent_down, down, maintenance, orphan]
  service:
    description: The Service of Thanos Query, which is asked through the service proxy of the Kubernetes API server.
    type: dict
    suboptions:
      namespace:
        description: Namespace of the Service. By default O(namespace).
        type: str
      name:
        description: Name of the Service. Not the query frontend, which may answer from its cache.
        type: str
        default: thanos-query
      port:
        description: Number or name of the port.
        type: str
        default: "9090"
      scheme:
        description: What the Service speaks. With V(https) the API server does not verify the Service's certificate.
        type: str
        choices: [http, https]
        default: http
  timeout:
    description: How long the query may take, in seconds.
    type: int
    default: 30
requirements:
  - kubernetes >= 24.2.0
seealso:
  - module: scs.observer.kaas_clusters
  - module: scs.observer.promql_info
"""

EXAMPLES = r"""
- name: Ask for all clusters
  scs.observer.kaas_clusters_info:
    kubeconfig: /etc/observer/kubeconfig
  register: kaas

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.name }} is {{ item.state }}, last sample {{ item.last_sample or 'never' }}"
  loop: "{{ kaas.clusters }}"

- name: Which clusters need somebody?
  scs.observer.kaas_clusters_info:
    kubeconfig: /etc/observer/kubeconfig
    states: [agent_down, down, never_seen, orphan]
  register: trouble
  failed_when: trouble is failed or trouble.clusters | length > 0

- name: Wait until a cluster that was just onboarded reports
  scs.observer.kaas_clusters_info:
    kubeconfig: /etc/observer/kubeconfig
    clusters: [customer-a-prod]
    states: [up]
  register: found
  until: found is success and found.clusters | length == 1
  retries: 12
  delay: 10
"""

RETURN = r"""
clusters:
  description: The clusters in the order of their names.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Id of the cluster.
      type: str
      returned: always
    state:
      description:
        - V(up), registered and reporting. Its targets may be down, which other alerts tell.
        - V(new), registered, in its time of grace (C(observer_kaas_grace), 10 minutes by default), and nothing came yet. Also registered since the last
          evaluation of the rules, or while kaas-metric-importer is away.
        - V(never_seen), registered, the time of grace is over, and nothing ever came.
        - V(agent_down), registered and silent, while its API server answers the Observer's probe.
        - V(down), registered and silent, and its API server does not answer, or the registry has no RV(clusters[].api_url).
        - V(maintenance), registered, and its silence is intended.
        - V(orphan), reports and is not registered. For at most one evaluation of the rules it is also said of one that was registered a moment ago.
      type: str
      returned: always
    registered:
      description: Whether the registry names the cluster now.
      type: bool
      returned: always
    last_sample:
      description: Time of the cluster's newest sample since it was registered, RFC 3339 in UTC. Null when there is none.
      type: str
      returned: always
    role:
      description: V(kaas) or V(infrastructure). Null when the cluster is not registered.
      type: str
      returned: always
    labels:
      description: Labels of the registry's entry.
      type: dict
      returned: always
    description:
      description: Description of the registry's entry, or an empty text.
      type: str
      returned: always
    api_url:
      description: URL of the cluster's API server as the registry names it, or an empty text.
      type: str
      returned: always
    maintenance:
      description: Whether the registry says that the cluster is in maintenance. The state follows with the next evaluation of the rules.
      type: bool
      returned: always
    agent_certificate_not_after:
      description: When the certificate of the cluster's agent ends, as the registry names it, or an empty text.
      type: str
      returned: always
    kubeconfig_secret:
      description: Where the cluster's kubeconfig is, as the registry names it. Empty when it does not.
      type: dict
      returned: always
    manager:
      description: What registered the cluster, for example V(ansible) or V(cluster_api). Null when it is not registered or nobody knows.
      type: str
      returned: always
  sample:
    - name: customer-a-prod
      state: up
      registered: true
      last_sample: "2026-03-01T12:00:25Z"
      role: kaas
      labels: {customer: a, name: Production of A}
      description: ""
      api_url: https://192.0.2.10:6443
      maintenance: false
      agent_certificate_not_after: "2026-05-30T12:00:00Z"
      kubeconfig_secret: {}
      manager: ansible
states:
  description: Number of clusters in each state, of all clusters, whatever O(clusters) and O(states) choose.
  returned: success
  type: dict
  sample: {up: 40, new: 1, never_seen: 0, agent_down: 1, down: 0, maintenance: 2, orphan: 0}
intake:
  description:
    - Whether Thanos Query is connected to at least two thirds of the Receives that exist.
    - If not, the states V(down) and V(agent_down) are not to be believed, since the Observer itself may be the reason. A warning says so.
  returned: success
  type: bool
  sample: true
recorded:
  description:
    - When Thanos Ruler last evaluated its rules, RFC 3339 in UTC. Null when nothing is recorded and nothing is registered.
    - While a rule fails, for example since a store does not answer, its last records stay for the lookback of Thanos Query (5 minutes by default).
  returned: success
  type: str
  sample: "2026-03-01T12:00:30Z"
requests:
  description: Number of requests to the API server, the query among them.
  returned: success
  type: int
  sample: 2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _kaas_states, _kubernetes, _promql_backends, _registry
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

ARGUMENT_SPEC = {
    "namespace": {"type": "str", "default": _registry.NAMESPACE},
    "name": {"type": "str", "default": _registry.NAME},
    "clusters": {"type": "list", "elements": "str"},
    "states": {"type": "list", "elements": "str", "choices": list(_kaas_states.STATES)},
    "service": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "namespace": {"type": "str"},
            "name": {"type": "str", "default": "thanos-query"},
            "port": {"type": "str", "default": "9090"},
            "scheme": {"type": "str", "choices": ["http", "https"], "default": "http"},
        },
    },
    "timeout": {"type": "int", "default": 30},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**_kubernetes.ARGUMENT_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    params = module.params
    try:
        if params["timeout"] < 1:
            raise ObserverError(f"timeout is {params['timeout']}. It must be 1 or more.")
        client = _kubernetes.from_module(module)
        service = {**params["service"], "namespace": params["service"]["namespace"] or params["namespace"]}
        backend = _promql_backends.ServiceBackend(client, **service, timeout=params["timeout"], parameters=_kaas_states.PARAMETERS)
        outcome = _kaas_states.observe(_registry.Registry(client, params["namespace"], params["name"]), backend)
    except ObserverError as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(changed=False, requests=client.requests, **outcome.result(names=params["clusters"], states=params["states"]))


if __name__ == "__main__":
    main()
