#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_dashboards_info
short_description: Export dashboards from Grafana
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Returns the dashboards of a Grafana in the form in which M(scs.observer.grafana_dashboards) compares them. Written to files, they can be kept in Git,
    and come back without a change.
extends_documentation_fragment:
  - scs.observer.grafana
options:
  uids:
    description: Only these dashboards. One that does not exist is left out.
    type: list
    elements: str
    default: []
  folder:
    description: Only dashboards in the folder of this path, and in folders inside of it. V(General) is the dashboards at the top only.
    type: str
  tag:
    description: Only dashboards with this tag.
    type: str
  content:
    description: Whether to return the dashboards themselves, and not only what they are called and where they are.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
seealso:
  - module: scs.observer.grafana_dashboards
"""

EXAMPLES = r"""
- name: Read all dashboards of a folder
  scs.observer.grafana_dashboards_info:
    url: https://grafana.example.com
    url_token: "{{ grafana_token }}"
    folder: Observer
  register: exported

- name: Keep them as files
  ansible.builtin.copy:
    content: "{{ item.content | to_nice_json(indent=2, ensure_ascii=false) }}\n"
    dest: dashboards/{{ item.uid }}.json
    mode: "0644"
  loop: "{{ exported.dashboards }}"
  loop_control:
    label: "{{ item.title }}"
"""

RETURN = r"""
dashboards:
  description: The dashboards, by folder, title and uid.
  returned: always
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
    folder:
      description: Path of its folder; empty at the top.
      type: str
      returned: always
    tags:
      description: Its tags, sorted.
      type: list
      elements: str
      returned: always
    version:
      description: Its version, which Grafana counts.
      type: int
      returned: always
    updated:
      description: When it was written last, in RFC 3339.
      type: str
      returned: always
    updated_by:
      description: Who wrote it last.
      type: str
      returned: always
    provisioned:
      description: Whether it comes from a file of the Grafana server, and can not be written by the API.
      type: bool
      returned: always
    url:
      description: Its address in the browser; null where Grafana does not say.
      type: str
      returned: always
    content:
      description: The dashboard, without what Grafana fills in and without what is the default anyway.
      type: dict
      returned: with O(content=true)
  sample:
    - uid: kaas-overview
      title: KaaS
      folder: Observer
      tags: [kaas]
      version: 3
      updated: "2026-01-01T12:00:00Z"
      updated_by: sa-ansible
      provisioned: false
      url: https://grafana.example.com/d/kaas-overview/kaas
      content: {schemaVersion: 39, title: KaaS, uid: kaas-overview}
requests:
  description: Number of requests to Grafana.
  returned: always
  type: int
  sample: 12
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards, _grafana_http, _grafana_sync
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_grafana_http.ARGUMENT_SPEC,
            "uids": {"type": "list", "elements": "str", "default": []},
            "folder": {"type": "str"},
            "tag": {"type": "str"},
            "content": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
        **_grafana_http.ARGUMENT_RULES,
    )
    params = module.params
    folder = None if params["folder"] is None else _grafana_dashboards.split_path(params["folder"])
    requests = 0
    try:
        with _grafana_http.from_params(params) as client:
            try:
                found = _grafana_sync.export(client, params["uids"], folder, params["tag"], content=params["content"])
            finally:
                requests = client.requests
    except ObserverError as error:
        module.fail_json(msg=str(error), requests=requests)
    module.exit_json(changed=False, dashboards=found, requests=requests)


if __name__ == "__main__":
    main()
