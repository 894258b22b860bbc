# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: promql
short_description: Ask Thanos or Prometheus from a playbook
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Sends queries to Thanos Query, Prometheus or what else speaks the Prometheus HTTP API C(v1), and gives the series that they find.
  - It asks once and expects nothing. Use the module M(scs.observer.promql_info) to wait for something, or to ask through the Kubernetes API server.
  - An answer that Thanos calls partial is given with a warning.
extends_documentation_fragment:
  - scs.observer.query_url
options:
  _terms:
    description: The queries, in PromQL.
    type: list
    elements: str
    required: true
  url:
    description: URL of the server, without C(/api/v1). Redirects are not followed. It must be reachable from the controller.
    type: str
    required: true
  range:
    description: Makes it a range query, over so long a time up to O(end), such as V(15m) or V(1h30m); a bare number is seconds.
    type: str
  start:
    description: Makes it a range query, from this time on. Written as O(end) is.
    type: str
  end:
    description: The end of a range query; seconds since 1970, a time with its zone such as V(2026-01-31T12:00:00Z), V(now), or V(now-1h).
    type: str
  step:
    description: The time between two samples of a range query, such as V(30s). If not given, a hundredth of the range, in whole seconds.
    type: str
  value:
    description:
      - Give the plain values instead of the series, as the server wrote them, for example V(0.25) or V(NaN). Use the filter C(float) to compute with them.
      - Of a range query these are lists, one for each series.
    type: bool
    default: false
  timeout:
    description: How long one query may take, in seconds.
    type: int
    default: 30
requirements:
  - requests >= 2.25
seealso:
  - module: scs.observer.promql_info
"""

EXAMPLES = r"""
- name: Show which targets are down
  ansible.builtin.debug:
    msg: "{{ item.labels.cluster }} {{ item.labels.job }} is down"
  loop: "{{ lookup('scs.observer.promql', 'up{cluster!=\"\"} == 0', url='https://thanos.example.com', url_token=thanos_token) }}"

- name: Stop when less than a tenth of the bucket's space is left
  ansible.builtin.assert:
    that: lookup('scs.observer.promql', 'min(bucket_free_ratio)', url='https://thanos.example.com', value=true) | first | float > 0.1

- name: The values of the last hour
  ansible.builtin.set_fact:
    load: "{{ lookup('scs.observer.promql', 'sum by (cluster) (node_load1)', url='https://thanos.example.com', range='1h', step='5m', value=true) }}"
"""

RETURN = r"""
_raw:
  description:
    - For each query a list of its series, as RV(scs.observer.promql_info#module:series) of M(scs.observer.promql_info), or with O(value=true) of their values.
    - C(lookup) gives that list itself when there is one query; C(query) always gives a list of such lists.
  type: list
  elements: list
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.scs.observer.plugins.module_utils import _promql, _promql_backends
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._url_access import Access

ANYTHING = _promql.Expectation()


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[list[t.Any]]:
        self.set_options(var_options=variables, direct=kwargs)
        options = self.get_options()
        try:
            if options["timeout"] < 1:
                raise ObserverError(f"timeout is {options['timeout']}. It must be 1 or more.")
            window = _promql.window(options)
            with _promql_backends.UrlBackend(options["url"], Access.from_params(options), timeout=options["timeout"]) as backend:
                answers = [_promql.ask(backend, str(term), ANYTHING, window=window).answer for term in terms]
        except ObserverError as error:
            raise AnsibleLookupError(str(error)) from error
        for answer in answers:
            for warning in answer.warnings:
                Display().warning(warning)
        return [[self._given(series, options["value"]) for series in answer.series] for answer in answers]

    def _given(self, series: _promql.Series | _promql.Range, plain: bool) -> t.Any:
        if not plain:
            return series.result()
        return series.value if isinstance(series, _promql.Series) else [value for _moment, value in series.samples]
