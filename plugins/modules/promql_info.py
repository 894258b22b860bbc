#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: promql_info
short_description: Ask Thanos or Prometheus, and wait until the answer is as expected
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Sends a query to Thanos Query, Prometheus or what else speaks the Prometheus HTTP API C(v1), and returns the series. It is an instant query, or with
    O(range) or O(start) a range query.
  - With O(min_series), O(max_series) or O(value) it asks again until the answer is so, and fails when it never is.
  - The server is reached at its O(url), or as a O(service) in a Kubernetes cluster through the API server, so that it need not be reachable from outside.
  - A query that the server can not parse, a refused login and a certificate that can not be verified fail at once, for asking again would not help. A
    server that is not reachable or not ready is asked again.
extends_documentation_fragment:
  - scs.observer.kubernetes
  - scs.observer.query_url
attributes:
  check_mode:
    support: full
    description: The module only reads, so it does the same in check mode. What a check mode run did not do is not found.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
options:
  query:
    description: The query, in PromQL. It must give an instant vector or a scalar; an instant query may give a string too.
    type: str
    required: true
  url:
    description:
      - URL of the server, without C(/api/v1). Redirects are not followed.
      - Exactly one of O(url) and O(service) is required.
    type: str
  service:
    description:
      - A Service that is asked through the service proxy of the Kubernetes API server. The connection options of Kubernetes apply to it only.
      - Needs the right get on C(services/proxy).
    type: dict
    suboptions:
      namespace:
        description: Namespace of the Service.
        type: str
        default: observer
      name:
        description: Name of the Service.
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
  range:
    description:
      - Makes it a range query, over so long a time up to O(end), such as V(15m) or V(1h30m).
      - The units are V(ms), V(s), V(m), V(h), V(d) of 24 hours, V(w) and V(y) of 365 days; a bare number is seconds.
      - O(range) and O(start) exclude each other.
    type: str
  start:
    description: Makes it a range query, from this time on. Written as O(end) is.
    type: str
  end:
    description:
      - The end of a range query. Seconds since 1970, a time with its zone such as V(2026-01-31T12:00:00Z), or V(now) with an optional duration before it
        such as V(now-1h), which is taken anew at each attempt.
      - Needs O(range) or O(start). V(now) if not given.
    type: str
  step:
    description:
      - The time between two samples of a range query, a duration as for O(range). The server gives at most 11000 samples a series.
      - Needs O(range) or O(start). If not given, a hundredth of the range, in whole seconds.
    type: str
  timeout:
    description: How long one attempt may take, in seconds.
    type: int
    default: 30
  min_series:
    description: The answer must have at least so many series.
    type: int
  max_series:
    description:
      - The answer must have at most so many series. With V(0) the module waits until they are gone.
      - An answer that Thanos calls partial does not count, since what some store did not answer is not gone.
    type: int
  value:
    description:
      - What each series' value must be, in the unit that the query gives. There must be a series then, unless O(min_series) is V(0).
      - V(NaN), strings and native histograms are no numbers, so that no expectation is met by them.
      - What needs more than this is said in PromQL, for example with O(query=abs(x - y) > bool 3) and O(value.equal=0).
    type: dict
    suboptions:
      min:
        description: The value must be at least this.
        type: float
      max:
        description: The value must be at most this.
        type: float
      equal:
        description: The value must be exactly this. Excludes O(value.min) and O(value.max).
        type: float
      samples:
        description: Of a range query, whether each sample of a series must be so, or only its last one.
        type: str
        choices: [all, last]
        default: all
  retries:
    description: How many times to ask again at most, after the first time.
    type: int
    default: 0
  delay:
    description: How long to wait between two attempts, in seconds.
    type: float
    default: 5
requirements:
  - requests >= 2.25 (for O(url))
  - kubernetes >= 24.2.0 (for O(service))
seealso:
  - plugin: scs.observer.promql
    plugin_type: lookup
  - module: scs.observer.kaas_clusters
"""

EXAMPLES = r"""
- name: Wait up to three minutes for the first sample of a cluster
  scs.observer.promql_info:
    kubeconfig: /etc/observer/kubeconfig
    service:
      namespace: observer
      name: thanos-query
      port: 9090
    query: up{cluster="customer-a-prod"}
    min_series: 1
    retries: 90
    delay: 2

- name: Wait until the Observer does not expect the cluster any more
  scs.observer.promql_info:
    url: https://thanos.example.com
    url_token: "{{ thanos_token }}"
    query: kaas{cluster="customer-a-prod"}
    max_series: 0
    retries: 60
    delay: 5

- name: Wait until no certificate expires within a week
  scs.observer.promql_info:
    url: https://thanos.example.com
    query: (min by (instance) (probe_ssl_earliest_cert_expiry) - time()) / 86400
    value:
      min: 7
    retries: 10
    delay: 30

- name: Check that all targets of a cluster were up for the last hour
  scs.observer.promql_info:
    url: https://thanos.example.com
    query: up{cluster="customer-a-prod"}
    range: 1h
    step: 1m
    value:
      equal: 1

- name: Count the series of each cluster
  scs.observer.promql_info:
    kubeconfig: /etc/observer/kubeconfig
    service: {}
    query: sum by (cluster) (scrape_samples_post_metric_relabeling{cluster!=""})
  register: counted

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.labels.cluster }} has {{ item.value }} series"
  loop: "{{ counted.series }}"
"""

RETURN = r"""
series:
  description: The series of the last answer, in the server's order. A scalar or string is one series without labels.
  returned: always, when the server was asked
  type: list
  elements: dict
  contains:
    labels:
      description: The labels, C(__name__) included.
      type: dict
      returned: always
    value:
      description:
        - The value as the server wrote it, for example V(1), V(0.25), V(NaN) or V(+Inf). Use the filter C(float) to compute with it.
        - Of a range query it is the last one.
        - Null for a native histogram.
      type: str
      returned: always
    timestamp:
      description: Time of the value, in seconds since 1970.
      type: float
      returned: always
    values:
      description: All samples of a range query, in the order of time; RV(series[].value) and RV(series[].timestamp) are the last.
      type: list
      elements: dict
      returned: for a range query
      contains:
        timestamp:
          description: Time of the sample, in seconds since 1970.
          type: float
          returned: always
        value:
          description: The value as the server wrote it, null for a native histogram.
          type: str
          returned: always
  sample:
    - labels: {__name__: up, cluster: customer-a-prod, job: kubelet}
      value: "1"
      timestamp: 1769335200.5
attempts:
  description: How many times the server was asked.
  returned: always, when the server was asked
  type: int
  sample: 3
elapsed:
  description: How long all attempts took together, in seconds.
  returned: always, when the server was asked
  type: float
  sample: 4.2
"""

import contextlib
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes, _promql, _promql_backends
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._url_access import ACCESS_SPEC, Access

ARGUMENT_SPEC = {
    "query": {"type": "str", "required": True},
    "url": {"type": "str"},
    **ACCESS_SPEC,
    "service": {
        "type": "dict",
        "options": {
            "namespace": {"type": "str", "default": "observer"},
            "name": {"type": "str", "default": "thanos-query"},
            "port": {"type": "str", "default": "9090"},
            "scheme": {"type": "str", "choices": ["http", "https"], "default": "http"},
        },
    },
    "range": {"type": "str"},
    "start": {"type": "str"},
    "end": {"type": "str"},
    "step": {"type": "str"},
    "timeout": {"type": "int", "default": 30},
    "min_series": {"type": "int"},
    "max_series": {"type": "int"},
    "value": {
        "type": "dict",
        "options": {
            "min": {"type": "float"},
            "max": {"type": "float"},
            "equal": {"type": "float"},
            "samples": {"type": "str", "choices": ["all", "last"], "default": "all"},
        },
    },
    "retries": {"type": "int", "default": 0},
    "delay": {"type": "float", "default": 5},
}


def backend_from(module: AnsibleModule) -> contextlib.AbstractContextManager[_promql.Backend]:
    params = module.params
    if params["timeout"] < 1:
        raise ObserverError(f"timeout is {params['timeout']}. It must be 1 or more.")
    if params["url"] is None:
        return contextlib.nullcontext(_promql_backends.ServiceBackend(_kubernetes.from_module(module), **params["service"], timeout=params["timeout"]))
    return _promql_backends.UrlBackend(params["url"], Access.from_params(params), timeout=params["timeout"])


def expectation_from(params: dict[str, t.Any]) -> _promql.Expectation:
    given = params["value"]
    value = None if given is None else _promql.Value(given["min"], given["max"], given["equal"], given["samples"] == "last")
    return _promql.Expectation(params["min_series"], params["max_series"], value)


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_kubernetes.ARGUMENT_SPEC, **ARGUMENT_SPEC},
        supports_check_mode=True,
        required_one_of=[("url", "service")],
        mutually_exclusive=[("url", "service"), ("url_username", "url_token")],
        required_together=[("url_username", "url_password"), ("url_client_certificate", "url_client_key")],
        required_by=dict.fromkeys(ACCESS_SPEC, ("url",)),
    )
    params = module.params
    try:
        expectation, window = expectation_from(params), _promql.window(params)
        with backend_from(module) as backend:
            found = _promql.ask(backend, params["query"], expectation, window=window, retries=params["retries"], delay=params["delay"])
    except _promql.NotMet as error:
        module.fail_json(msg=str(error), **error.result.result())
    except ObserverError as error:
        module.fail_json(msg=str(error))
    for warning in found.answer.warnings:
        module.warn(warning)
    module.exit_json(changed=False, **found.result())


if __name__ == "__main__":
    main()
