#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dashboard_queries_info
short_description: Run the queries of dashboards, and tell which panels have data
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Reads Grafana dashboards, finds the values of their variables, and sends the queries of every panel to Thanos Query, Prometheus or what else speaks the
    Prometheus HTTP API C(v1), as Grafana 10.4 would. No Grafana is needed.
  - Tells for each panel whether it has data, is empty, or has an error, and, with O(report), draws all of them in one HTML page.
  - Variables of the types query, custom, constant, textbox, interval and datasource are resolved, also where they depend on each other, with several
    values, All, and all formats of Grafana's syntax that make sense in PromQL. Variables of type adhoc are ignored.
  - Of rows and panels that are repeated for the values of a variable, the first is tried, and RV(dashboards[].panels[].repeat) says so.
  - Transformations are not run. Queries for other datasources and expressions of Grafana are skipped.
extends_documentation_fragment:
  - scs.observer.kubernetes
  - scs.observer.query_url
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
  src:
    description:
      - Files, folders and patterns (C(*), C(?), C([abc]), C(**)) with dashboards. Of a folder, all that ends in C(.json) is taken, in subfolders too.
      - Looked for on the controller, as M(ansible.builtin.copy) does, in C(files/) of a role too; files encrypted with Ansible Vault are decrypted.
      - At least one of O(src) and O(dashboards) is required.
    type: list
    elements: str
    default: []
  remote_src:
    description: Whether O(src) lies on the host that runs the module instead.
    type: bool
    default: false
  dashboards:
    description:
      - More dashboards. Each is a dashboard's own JSON, as a mapping or a text, or a mapping with the keys C(content) (that JSON), C(uid) (instead of that in
        the content) and C(name) (how messages call it).
    type: list
    elements: raw
    default: []
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
  timeout:
    description: How long one query may take, in seconds.
    type: int
    default: 30
  concurrency:
    description: How many queries are sent at once, at most.
    type: int
    default: 4
  variables:
    description:
      - Values of the dashboards' variables by name, instead of the saved or first one. A list is several values, V(All) is all of them.
    type: dict
    default: {}
  range:
    description: The time range until now that all dashboards are asked for, as V(30m), V(6h) or V(7d). A panel's own relative time and time shift count.
    type: str
    default: 1h
  scrape_interval:
    description: The scrape interval that Grafana's datasource is set to. It bounds C($__interval), and C($__rate_interval) is at least four times that.
    type: str
    default: 15s
  max_data_points:
    description: How many points a series has at most where a panel does not say it; Grafana takes the panel's width in pixels. It bounds C($__interval).
    type: int
    default: 500
  allow_empty:
    description:
      - Panels that may be empty. One that has data after all, or is not there, is returned in RV(needless).
      - An error is not excepted by it.
    type: list
    elements: dict
    default: []
    suboptions:
      dashboard:
        description: The dashboard's uid or title.
        type: str
        required: true
      panel:
        description: The panel's id or title.
        type: str
        required: true
      reason:
        description: Why it has no data.
        type: str
        required: true
      sometimes:
        description: Whether it may have data too, as when it shows what rarely happens. Then the entry is needless only when there is no such panel.
        type: bool
        default: false
  fail_on:
    description:
      - What lets the task fail. V(error) and V(empty) are panels in these states, V(error) also variables whose values could not be found, and
        V(needless) is an entry of O(allow_empty) that is not needed.
      - The result is returned then too.
    type: list
    elements: str
    choices: [error, empty, needless]
    default: []
  report:
    description:
      - Whether to return RV(html). Needs the Python library plotly where the task runs.
      - It is about 5 MB, and one level of C(-v) shows it on the terminal; set C(no_log) then.
    type: bool
    default: false
requirements:
  - requests >= 2.25 (for O(url))
  - kubernetes >= 24.2.0 (for O(service))
  - plotly >= 5 (for O(report))
seealso:
  - module: scs.observer.grafana_dashboards
  - module: scs.observer.promql_info
"""

EXAMPLES = r"""
- name: Look whether all panels of the dashboards have data
  scs.observer.dashboard_queries_info:
    src:
      - dashboards
    url: https://thanos.example.com
    url_token: "{{ thanos_token }}"
    variables:
      cluster: customer-a-prod
    allow_empty:
      - dashboard: node
        panel: Disks that fail
        reason: all disks are well
    fail_on:
      - error
      - empty
      - needless

- name: Draw them without Grafana
  scs.observer.dashboard_queries_info:
    src:
      - dashboards/*.json
    kubeconfig: /etc/observer/kubeconfig
    service: {}
    range: 6h
    report: true
  register: tried

- name: Write the page
  ansible.builtin.copy:
    content: "{{ tried.html }}"
    dest: /tmp/dashboards.html
    mode: "0644"
"""

RETURN = r"""
dashboards:
  description: Each dashboard, in the order given.
  returned: always, when the server was asked
  type: list
  elements: dict
  contains:
    uid:
      description: Its uid.
      type: str
      returned: always
    title:
      description: Its title.
      type: str
      returned: always
    file:
      description: The file, or the place among O(dashboards), that it comes from.
      type: str
      returned: always
    variables:
      description: Its variables, as they were resolved.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Its name.
          type: str
          returned: always
        type:
          description: Its type; V(given) for one that only the task names.
          type: str
          returned: always
        value:
          description: The values that were taken.
          type: list
          elements: str
          returned: always
        all:
          description: Whether All was taken.
          type: bool
          returned: always
        options:
          description: How many values it can have.
          type: int
          returned: always
        error:
          description: Why its values could not be found, or empty.
          type: str
          returned: always
    panels:
      description: Its panels that have queries.
      type: list
      elements: dict
      returned: always
      contains:
        id:
          description: Its id.
          type: int
          returned: always
        title:
          description: Its title, with the values of variables.
          type: str
          returned: always
        type:
          description: Its type, such as V(timeseries).
          type: str
          returned: always
        row:
          description: Title of the row that it lies in, or empty.
          type: str
          returned: always
        state:
          description:
            - V(data) when some query found a sample that is a number. V(empty) when none did. V(error) when a query has an error.
            - V(skipped) when none of its queries can be asked here. V(excepted) when it is empty and O(allow_empty) names it.
          type: str
          returned: always
        reason:
          description: Why the state is not V(data), or which queries were skipped.
          type: str
          returned: always
        series:
          description: How many series its queries found.
          type: int
          returned: always
        repeat:
          description: The C(variable) by which it is repeated, the C(value) that was tried, and C(of) how many; null when it is not repeated.
          type: dict
          returned: always
        queries:
          description: Its queries that were asked. A query that is both instant and range is there twice.
          type: list
          elements: dict
          returned: always
          contains:
            ref_id:
              description: Its letter.
              type: str
              returned: always
            expr:
              description: What was asked, with the values of variables.
              type: str
              returned: always
            kind:
              description: V(instant) or V(range).
              type: str
              returned: always
            step:
              description: Seconds between two points of a range query.
              type: float
              returned: always
            series:
              description: How many series were found.
              type: int
              returned: always
            samples:
              description: How many of their samples are numbers.
              type: int
              returned: always
            error:
              description: What went wrong, or empty.
              type: str
              returned: always
            warnings:
              description: What the server warned of, as of a partial answer.
              type: list
              elements: str
              returned: always
summary:
  description:
    - How many C(dashboards), C(panels), panels of each state, and variables that failed (C(variables_failed)) there are.
    - C(ratio) is the share of panels with data among all that are not skipped.
  returned: always, when the server was asked
  type: dict
  sample: {dashboards: 2, panels: 21, data: 19, empty: 0, error: 1, skipped: 0, excepted: 1, variables_failed: 0, ratio: 0.9048}
needless:
  description: The entries of O(allow_empty) that no empty panel needs, with C(why).
  returned: always, when the server was asked
  type: list
  elements: dict
  sample: []
requests:
  description: Number of requests to the server. Queries that several panels share are asked once.
  returned: always, when the server was asked
  type: int
  sample: 43
html:
  description: All dashboards with their data as one HTML page, which loads nothing from elsewhere.
  returned: when O(report) is set
  type: str
  sample: <!DOCTYPE html>...
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_queries, _dashboard_variables, _grafana_dashboards, _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._url_access import ACCESS_SPEC, Access

ARGUMENT_SPEC = {
    "src": {"type": "list", "elements": "str", "default": []},
    "remote_src": {"type": "bool", "default": False},
    # no secrets, but megabytes in the log; the action plugin has packed them into one text, so that no_log hides no title elsewhere
    "dashboards": {"type": "list", "elements": "raw", "default": [], "no_log": True},
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
    "timeout": {"type": "int", "default": 30},
    "concurrency": {"type": "int", "default": 4},
    "variables": {"type": "dict", "default": {}},
    "range": {"type": "str", "default": "1h"},
    "scrape_interval": {"type": "str", "default": "15s"},
    "max_data_points": {"type": "int", "default": 500},
    "allow_empty": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "dashboard": {"type": "str", "required": True},
            "panel": {"type": "str", "required": True},
            "reason": {"type": "str", "required": True},
            "sometimes": {"type": "bool", "default": False},
        },
    },
    "fail_on": {"type": "list", "elements": "str", "choices": ["error", "empty", "needless"], "default": []},
    "report": {"type": "bool", "default": False},
}


def options_from(module: AnsibleModule) -> _dashboard_queries.Options:
    params = module.params
    for name in ("timeout", "concurrency", "max_data_points"):
        if params[name] < 1:
            raise ObserverError(f"{name} is {params[name]}. It must be 1 or more.")
    seconds = {name: _dashboard_variables.duration(params[name]) for name in ("range", "scrape_interval")}
    for name, value in seconds.items():
        if not value or value < 0:
            raise ObserverError(f"{name} is {params[name]}. Write it like 30s, 5m or 6h.")
    return _dashboard_queries.Options(
        span=seconds["range"],
        scrape_interval=seconds["scrape_interval"],
        max_data_points=params["max_data_points"],
        parallel=params["concurrency"],
        variables=params["variables"],
        allow_empty=tuple(_dashboard_queries.Allowed(**entry) for entry in params["allow_empty"]),
        draw=params["report"],
    )


def backend_from(module: AnsibleModule) -> contextlib.AbstractContextManager[_dashboard_variables.Api]:
    params = module.params
    from ansible_collections.scs.observer.plugins.module_utils import _promql_backends

    if params["url"] is None:
        return contextlib.nullcontext(_promql_backends.ServiceBackend(_kubernetes.from_module(module), **params["service"], timeout=params["timeout"]))
    return _promql_backends.UrlBackend(params["url"], Access.from_params(params), timeout=params["timeout"])


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
    result = {}
    try:
        options = options_from(module)
        sources = _grafana_dashboards.read_all(params["src"])
        entries = [_grafana_dashboards.entry_of(source, "", by_folder=False) for source in sources]
        wanted = _grafana_dashboards.parse([*_grafana_dashboards.unpack(params["dashboards"]), *entries], "")
        if params["report"]:
            from ansible_collections.scs.observer.plugins.module_utils import _dashboard_report

            _dashboard_report.check()
        with backend_from(module) as backend:
            report = _dashboard_queries.run(wanted, backend, options)
        result = report.result()
        if params["report"]:
            result["html"] = _dashboard_report.html(report)
    except ObserverError as error:
        module.fail_json(msg=str(error), **result)
    failures = report.failures(params["fail_on"])
    if failures:
        module.fail_json(msg=_dashboard_queries.failure_message(failures, params["fail_on"]), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
